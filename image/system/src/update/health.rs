//! Whether a release is good, judged at its first start and before anybody is served.
//!
//! The server's program starts, opens its store, migrates it if it must, says that it is ready, and answers nobody before
//! the file [`served`] is there. So whatever a release did before it was found good can be undone: the older program puts
//! the copy of the database from before the migration back, and loses nothing that was acknowledged.
//!
//! A release that does not get as far as this program falls back by systemd-boot's counting alone.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use luxchat_bundle::files::{self, Access};

use super::{State, check_certificate, restart, running_release, state::boot};
use crate::{
    host::Host,
    paths::Paths,
    programs::{CommandLine, SYSTEMCTL},
};

/// The program that keeps systemd-boot's counting.
const BLESS: &str = "/usr/lib/systemd/systemd-bless-boot";
const JOURNALCTL: &str = "/usr/bin/journalctl";
/// The server's unit.
const UNIT: &str = "luxchat-appliance.service";
/// How often the server is looked at.
pub const LOOK: Duration = Duration::from_secs(2);
/// How many times: a migration of a large database takes its time.
const LOOKS: u32 = 600;

/// How many times in a row the server may be found neither started nor about to be.
const IDLE_LOOKS: u32 = 15;

/// What a start came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The release was found good before, or is not counted.
    Known,
    /// It was on trial, and is good from now on.
    Good,
    /// It was on trial and is not good: the box restarts into the other slot.
    Bad(String),
    /// It is not good, and neither is the other slot: the box stays with it.
    LastResort(String),
}

/// The file at whose sight the server's program serves.
pub fn served(paths: &Paths) -> PathBuf {
    paths.run().join("boot-is-good")
}

/// Judges this start. `pause` waits for [`LOOK`].
///
/// # Errors
///
/// When nothing can be judged: then nobody is served, and systemd tries again.
pub fn judge(host: Host<'_>, now: Timestamp, pause: &dyn Fn()) -> Result<Verdict> {
    let paths = host.paths;
    note_fallback(paths)?;
    let status = bless(host, "status")?;
    let running = running_release(paths)?;
    let on_trial = State::pending(paths)?.is_some_and(|it| it.version == running);
    let verdict = match status.trim() {
        "clean" | "good" => Verdict::Known,
        // It came with the box: there is nothing to go back to.
        _ if !on_trial => {
            bless(host, "good")?;
            Verdict::Known
        }
        counted => match check(host, now, pause) {
            Ok(()) => {
                bless(host, "good")?;
                Verdict::Good
            }
            // Its tries were used up, and it was started nevertheless: there is nothing better.
            Err(reason) if counted == "bad" => Verdict::LastResort(format!("{reason:#}")),
            Err(reason) => return give_up(host, &format!("{reason:#}")),
        },
    };
    if verdict == Verdict::Good {
        State::clear_pending(paths)?;
        State::tell(paths, &format!("release {running} runs and is good"));
    }
    if let Verdict::LastResort(reason) = &verdict {
        State::tell(paths, &format!("no release is good; this one: {reason}"));
    }
    files::create_folder(&paths.run())?;
    files::replace(&served(paths), b"", Access::Public)?;
    Ok(verdict)
}

/// A release that was installed and does not run any more, though the box was restarted since, did not come up.
fn note_fallback(paths: &Paths) -> Result<()> {
    let Some(pending) = State::pending(paths)? else {
        return Ok(());
    };
    let running = running_release(paths)?;
    if !pending.whole || pending.version == running || pending.boot == boot(paths) {
        return Ok(());
    }
    let known = State::failure(paths)?.filter(|it| it.version == pending.version);
    let reason = if let Some(failure) = known {
        failure.reason
    } else {
        let reason = "it did not come up far enough to say why";
        State::set_failure(paths, &pending.version, reason)?;
        reason.to_owned()
    };
    State::clear_pending(paths)?;
    State::tell(
        paths,
        &format!(
            "release {} was not good, so the box runs {running} again: {reason}",
            pending.version
        ),
    );
    Ok(())
}

/// The program is ready, which it says with its store open and written to; the box's own certificate is in force.
fn check(host: Host<'_>, now: Timestamp, pause: &dyn Fn()) -> Result<()> {
    wait_for_server(host, pause)?;
    check_certificate(host.paths, now).context("the box's own certificate")
}

fn wait_for_server(host: Host<'_>, pause: &dyn Fn()) -> Result<()> {
    let mut idle = 0;
    for _ in 0..LOOKS {
        let show = CommandLine::new(SYSTEMCTL).args([
            "show",
            UNIT,
            "--property=ActiveState,Job,NRestarts,Result",
        ]);
        let answer = host.programs.run(&show)?;
        let value = |key: &str| {
            let mut lines = answer.lines().filter_map(|line| line.split_once('='));
            lines
                .find(|(name, _)| *name == key)
                .map_or("", |(_, it)| it)
        };
        match value("ActiveState") {
            "active" => return Ok(()),
            "failed" => {
                let result = value("Result");
                anyhow::bail!("the server failed ({result}){}", last_words(host));
            }
            "inactive" if value("Job").is_empty() && idle >= IDLE_LOOKS => {
                anyhow::bail!("the server is not started: something that it depends on failed");
            }
            _ if value("NRestarts").parse().unwrap_or(0) >= 3 => {
                anyhow::bail!("the server failed again and again{}", last_words(host));
            }
            state => {
                let waits = state == "inactive" && value("Job").is_empty();
                idle = if waits { idle + 1 } else { 0 };
                pause();
            }
        }
    }
    anyhow::bail!(
        "the server was not ready after {} minutes{}",
        LOOK.as_secs() * u64::from(LOOKS) / 60,
        last_words(host)
    )
}

/// What the server said last, if the journal can be asked.
fn last_words(host: Host<'_>) -> String {
    let journal = CommandLine::new(JOURNALCTL).args([
        "--unit",
        UNIT,
        "--boot",
        "--lines=3",
        "--output=cat",
        "--no-pager",
    ]);
    let words = host.programs.run(&journal).unwrap_or_default();
    let words: Vec<_> = words
        .lines()
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect();
    if words.is_empty() {
        return String::new();
    }
    format!(": {}", words.join(" / "))
}

fn give_up(host: Host<'_>, reason: &str) -> Result<Verdict> {
    let paths = host.paths;
    let running = running_release(paths)?;
    State::set_failure(paths, &running, reason)?;
    State::tell(
        paths,
        &format!("release {running} is not good, the box goes back to the one before: {reason}"),
    );
    bless(host, "bad")?;
    restart(host)?;
    Ok(Verdict::Bad(reason.to_owned()))
}

fn bless(host: Host<'_>, verb: &str) -> Result<String> {
    let mut path = std::ffi::OsString::from("--path=");
    path.push(system_partition(host.paths));
    host.programs
        .run(&CommandLine::new(BLESS).arg(path).arg(verb))
}

/// Where the unit mounts the partition with the boot loader and the kernel images.
fn system_partition(paths: &Paths) -> PathBuf {
    paths.run().join("esp")
}
