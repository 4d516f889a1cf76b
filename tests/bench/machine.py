"""What a measurement must be read with: the machine, its disk, the versions."""

import os
import platform
import subprocess
import time


def describe(folder):
    """Lines of Markdown about this machine and the disk that holds `folder`."""
    rate, median_us = fsync_rate(folder)
    load = os.getloadavg()
    return [
        f"- {os.cpu_count()} cores ({cpu_model()}), {memory_gib():.1f} GiB of memory",
        f"- {platform.system()} {platform.release()}, {platform.machine()}",
        f"- disk of {filesystem(folder)}: {rate:.0f} fdatasync of a 4 KiB append a second, "
        f"{median_us:.0f} µs in the median",
        f"- load average at the start: {load[0]:.2f} {load[1]:.2f} {load[2]:.2f}",
    ]


def fsync_rate(folder, seconds=2.0):
    """How many durable 4 KiB appends a second one writer makes, and their median time in microseconds."""
    path = os.path.join(folder, "fsync-probe")
    block = os.urandom(4096)
    times = []
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        end = time.monotonic() + seconds
        while (before := time.monotonic()) < end:
            os.write(file, block)
            os.fdatasync(file)
            times.append(time.monotonic() - before)
    finally:
        os.close(file)
        os.unlink(path)
    return len(times) / seconds, sorted(times)[len(times) // 2] * 1e6


def filesystem(folder):
    """The type of the file system of `folder`, and where it is mounted."""
    best = ("?", "")
    real = os.path.realpath(folder)
    with open("/proc/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _, point, kind = line.split()[:3]
            inside = real == point or real.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best[1]):
                best = (kind, point)
    return f"{best[0]} at {best[1]}"


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown model"


def memory_gib():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def output_of(*command):
    """The first line a command prints, or "?" when it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return "?"
    return (done.stdout.strip().splitlines() or ["?"])[0]


