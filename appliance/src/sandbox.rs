//! What the process gives up for its whole life, whatever started it. The systemd unit takes the rest away.

use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        stat::{Mode, umask},
    },
    unistd::Uid,
};
use tracing::warn;

/// What Linux lets a process open if nobody says otherwise.
const LEAST_OPEN_FILES: u64 = 1_024;

/// More than any machine serves, where there is no limit.
const MOST_OPEN_FILES: u64 = 1 << 20;

/// Gives up core dumps, tracing by other processes and new privileges, hides new files from other users, and takes as
/// many open files as the hard limit allows (a box holds a socket per client).
pub fn harden() {
    umask(Mode::from_bits_truncate(0o077));
    let steps = [
        ("core dumps", setrlimit(Resource::RLIMIT_CORE, 0, 0)),
        ("dumpable", prctl::set_dumpable(false)),
        ("no new privileges", prctl::set_no_new_privs()),
        ("open files", raise_open_files()),
    ];
    for (what, outcome) in steps {
        if let Err(error) = outcome {
            warn!(what, %error, "hardening step failed");
        }
    }
    if Uid::effective().is_root() {
        warn!("running as root: give the box a user of its own");
    }
}

/// How many files and sockets the process may have open at a time.
pub fn open_files() -> usize {
    // Asked of this process itself, with a resource that every Linux knows.
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((LEAST_OPEN_FILES, 0));
    usize::try_from(soft.min(MOST_OPEN_FILES)).unwrap_or(usize::MAX)
}

fn raise_open_files() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}
