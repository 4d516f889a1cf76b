//! What a worker gives up before it reads a byte: everything but its two pipes, and bounds on what is left.
//!
//! Each layer would do alone, as far as it reaches: limits of the process, landlock for files and the network, seccomp for
//! every system call that decoding an image does not need. A forbidden call ends the process.

use std::{collections::BTreeMap, fs, io};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};
use nix::{
    libc,
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::Signal,
    },
    unistd,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

#[cfg(test)]
mod tests;

/// What a worker may take beside what the program takes itself, in bytes: an image of 64 million pixels as its decoder has
/// it, and as it comes out.
const MEMORY: u64 = 1024 * 1024 * 1024;

/// Of the program's own address space where the system does not tell how much it is.
const OWN_MEMORY: u64 = 1024 * 1024 * 1024;

/// The processor time of a worker, in seconds. The box loses patience before.
const PROCESSOR_TIME: u64 = 60;

/// The highest file descriptor that is closed where the system does not tell which there are.
const MAX_DESCRIPTOR: i32 = 4096;

/// How a worker is confined. Limits of the process and seccomp are always in force: without them, a worker does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// How much landlock adds.
    pub landlock: Landlock,
}

/// How much the kernel knows of landlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// Files, network, sockets and signals are out of reach.
    Full,
    /// An older kernel: files are out of reach.
    Partial,
    /// The kernel has none, or it is off.
    Missing,
}

/// Gives up everything but standard input, output and error, for ever.
pub(crate) fn enter() -> Result<Confinement, String> {
    close_descriptors();
    // Where memory is short, a worker goes before the box does.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    step("dumpable", prctl::set_dumpable(false))?;
    step("death signal", prctl::set_pdeathsig(Signal::SIGKILL))?;
    step("no new privileges", prctl::set_no_new_privs())?;
    let memory = own_memory().unwrap_or(OWN_MEMORY).saturating_add(MEMORY);
    let landlock = restrict_access().map_err(|error| format!("landlock: {error}"))?;
    for (resource, limit) in [
        (Resource::RLIMIT_AS, memory),
        (Resource::RLIMIT_CPU, PROCESSOR_TIME),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, 0),
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
    ] {
        let set = setrlimit(resource, limit, limit);
        step("limits", set)?;
    }
    restrict_calls().map_err(|error| format!("seccomp: {error}"))?;
    Ok(Confinement { landlock })
}

/// Files, network, abstract sockets and signals to others, as far as the kernel knows how to refuse them.
fn restrict_access() -> Result<Landlock, RulesetError> {
    let newest = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Full,
        RulesetStatus::PartiallyEnforced => Landlock::Partial,
        RulesetStatus::NotEnforced => Landlock::Missing,
    })
}

/// What remains: to read, write, take memory that is not code, and end.
fn restrict_calls() -> Result<(), seccompiler::Error> {
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigreturn,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ]
    .into_iter()
    .map(|call| (call, Vec::new()))
    .collect();
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        allowed.insert(call, vec![not_executable()?]);
    }
    let filter = SeccompFilter::new(
        allowed,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    let filter: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&filter)
}

/// The third argument of mmap(2) and mprotect(2) is without `PROT_EXEC`.
fn not_executable() -> Result<SeccompRule, seccompiler::Error> {
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    let condition = SeccompCondition::new(
        2,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(executable),
        0,
    )?;
    Ok(SeccompRule::new(vec![condition])?)
}

/// The box opens everything so that it is closed here; what it inherited itself need not be.
fn close_descriptors() {
    let open = open_descriptors().unwrap_or_else(|_| (3..=MAX_DESCRIPTOR).collect());
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // Closed already, like the one that listed them.
        let _ = unistd::close(descriptor);
    }
}

fn open_descriptors() -> io::Result<Vec<i32>> {
    let entries = fs::read_dir("/proc/self/fd")?;
    let names = entries.map(|entry| Ok(entry?.file_name()));
    let names: Vec<_> = names.collect::<io::Result<_>>()?;
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    Ok(numbers.collect())
}

/// The address space of the process now, in bytes.
fn own_memory() -> Option<u64> {
    let sizes = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = sizes.split_whitespace().next()?.parse().ok()?;
    let page = unistd::sysconf(unistd::SysconfVar::PAGE_SIZE).ok()??;
    pages.checked_mul(page.try_into().ok()?)
}

fn step(what: &str, outcome: nix::Result<()>) -> Result<(), String> {
    outcome.map_err(|error| format!("{what}: {error}"))
}
