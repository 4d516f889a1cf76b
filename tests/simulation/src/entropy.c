/* Randomness that a seed decides: the keys of hash maps, the order in which a runtime polls, ids, keys, jitter.
 *
 * The Rust standard library and the crates for random numbers all ask the operating system through getrandom(2). The
 * executable's own definition comes before the C library's. Without a seed in the environment it does what that does. */

#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static uint64_t state;
static int known; /* 0: not looked yet, 1: there is a seed, -1: there is none */

/* SplitMix64. One thread asks at a time: a simulation has but one. */
static uint64_t next(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags) {
    if (known == 0) {
        const char *seed = getenv("LUXCHAT_SIMULATION_SEED");
        known = seed ? 1 : -1;
        state = seed ? strtoull(seed, NULL, 10) : 0;
    }
    if (known < 0) {
        return syscall(SYS_getrandom, buffer, length, flags);
    }
    unsigned char *bytes = buffer;
    for (size_t i = 0; i < length; i++) {
        bytes[i] = (unsigned char)next();
    }
    return (ssize_t)length;
}
