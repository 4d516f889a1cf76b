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

fn raise_open_files() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}
