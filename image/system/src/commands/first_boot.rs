use std::{path::PathBuf, thread::sleep, time::Duration};

use anyhow::Result;

use crate::{
    commands::stick::handle,
    host::Host,
    paths::Paths,
    programs::Machine,
    progress::Progress,
    stick,
    visit::{self, Outcome},
};

/// How often it is looked whether a stick was put in.
const LOOK: Duration = Duration::from_secs(1);
/// How soon a stick that was refused for something that may pass, such as the network, is looked at again.
const AGAIN: Duration = Duration::from_mins(2);

/// Waits until the box has a site file and an answer of the authority, with as many visits of the stick as that takes.
///
/// # Errors
///
/// When the box's own state cannot be read or written.
pub fn run() -> Result<()> {
    let paths = Paths::default();
    let host = Host::new(&paths, &Machine)?;
    let mut waiting = Waiting::default();
    loop {
        if host.paths.site().is_file()
            && let Some(enrolment) = visit::enrolment(host)?
        {
            visit::keep_clock(host, &enrolment)?;
            return Ok(());
        }
        if !waiting.told {
            let line = "Waiting for a stick labelled LUXCHAT with the site file.".to_owned();
            Progress::say(host, host.now(), &[line])?;
            waiting.told = true;
        }
        if waiting.wants(stick::device(host)) {
            let report = match stick::device(host) {
                Some(device) => handle(host, &device),
                None => continue,
            };
            match report {
                Ok(report) => waiting.seen(report.outcome),
                // Pulled out too early, for one: the next stick is another try.
                Err(error) => Progress::say(host, host.now(), &[format!("{error:#}")])?,
            }
        }
        sleep(LOOK);
    }
}

/// Which stick was looked at already.
#[derive(Debug, Default)]
struct Waiting {
    told: bool,
    seen: Option<PathBuf>,
    again: Option<std::time::Instant>,
}

impl Waiting {
    /// Whether the stick that is in now is to be looked at: once for each time it is put in, and again after a while if
    /// it was refused.
    fn wants(&mut self, device: Option<PathBuf>) -> bool {
        let Some(device) = device else {
            self.seen = None;
            self.again = None;
            return false;
        };
        // The kernel's name tells a stick that was swapped quickly from the one before.
        let device = std::fs::canonicalize(&device).unwrap_or(device);
        let due = self.again.is_some_and(|at| at <= std::time::Instant::now());
        if self.seen.as_ref() == Some(&device) && !due {
            return false;
        }
        self.seen = Some(device);
        self.again = None;
        true
    }

    fn seen(&mut self, outcome: Outcome) {
        if outcome == Outcome::Refused {
            self.again = Some(std::time::Instant::now() + AGAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stick_is_looked_at_once_for_each_time_it_is_put_in() {
        let mut waiting = Waiting::default();
        let stick = || Some(PathBuf::from("/dev/disk/by-label/LUXCHAT"));
        assert!(!waiting.wants(None));
        assert!(waiting.wants(stick()));
        waiting.seen(Outcome::Asked);
        assert!(!waiting.wants(stick()));
        assert!(!waiting.wants(None));
        assert!(waiting.wants(stick()));
        waiting.seen(Outcome::Refused);
        assert!(!waiting.wants(stick()));
        waiting.again = Some(std::time::Instant::now());
        assert!(waiting.wants(stick()));
    }
}
