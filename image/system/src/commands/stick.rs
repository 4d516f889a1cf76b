use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::{
    host::Host,
    paths::Paths,
    programs::{CommandLine, Machine, SYSTEMCTL},
    progress::Progress,
    staged::Staged,
    stick, update,
    visit::{self, Outcome, Report},
};

/// This program.
const SYSTEM: &str = "/usr/bin/luxchat-system";
/// How long writing a release may take.
const UPDATE: Duration = Duration::from_mins(50);
/// Starts the factory reset.
const RESET: &str = "luxchat-reset.service";

/// Takes from the stick what it brings to a box that is enrolled.
///
/// # Errors
///
/// When there is no stick, or it could not be written.
pub fn run() -> Result<()> {
    let paths = Paths::default();
    let host = Host::new(&paths, &Machine)?;
    if visit::enrolment(host)?.is_none() {
        crate::say!("the box is not enrolled: its first boot looks after the stick");
        return Ok(());
    }
    let device = stick::device(host).context("no stick is in")?;
    handle(host, &device).map(drop)
}

/// Looks at a stick once: copies, checks, applies, and leaves the request and the log on it.
pub(crate) fn handle(host: Host<'_>, device: &Path) -> Result<Report> {
    luxchat_bundle::files::create_folder(&host.paths.run())?;
    let _one_at_a_time = lock(&host.paths.run().join("stick.lock"))?;
    let now = host.now();
    let copied = stick::with_mounted(host, device, |folder| Staged::copy(folder, host));
    let report = match copied {
        Ok(staged) => {
            let report = visit::visit(host, &staged, now);
            staged.remove()?;
            report
        }
        Err(error) => Report {
            lines: vec![format!("refused: {error:#}")],
            request: None,
            outcome: Outcome::Refused,
        },
    };
    let mut report = report;
    let mut restarts = false;
    if report.outcome == Outcome::Enrolled
        && let Some(said) = install(host, device)?
    {
        restarts = said.is_ok() && update::is_waiting(host.paths)?;
        report.lines.push(match said {
            Ok(said) => format!("release: {said}"),
            Err(error) => format!("the release was refused: {error:#}"),
        });
    }
    let left = stick::with_mounted(host, device, |folder| stick::leave(folder, &report, now));
    let mut lines = report.lines.clone();
    lines.push(match &left {
        Ok(()) => "The stick can be taken out.".to_owned(),
        Err(error) => format!("The stick could not be written: {error:#}"),
    });
    Progress::say(host, now, &lines)?;
    if report.outcome == Outcome::Reset {
        host.programs
            .run(&CommandLine::new(SYSTEMCTL).args(["--no-block", "start", RESET]))?;
    } else if restarts {
        update::restart(host)?;
    }
    Ok(report)
}

/// Installs a release, if the stick brings one. It stays mounted meanwhile: a release is too large to be copied first, and
/// is verified as it is read.
fn install(host: Host<'_>, device: &Path) -> Result<Option<Result<String>>> {
    stick::with_mounted(host, device, |folder| {
        let repository = folder.join("repository");
        if !has_release(&repository.join("targets")) {
            return Ok(None);
        }
        let line = CommandLine::new(SYSTEM).args(["update", "--repository"]);
        let said = host.programs.run(&line.arg(&repository).within(UPDATE));
        Ok(Some(said.map(|said| said.trim().to_owned())))
    })
}

/// Whether a folder holds the kernel image of a release.
fn has_release(targets: &Path) -> bool {
    let entries = std::fs::read_dir(targets).into_iter().flatten();
    let is_kernel = |path: &Path| path.extension().is_some_and(|it| it == "efi");
    entries.flatten().any(|entry| is_kernel(&entry.path()))
}

fn lock(path: &Path) -> Result<Flock<std::fs::File>> {
    let file = std::fs::File::create(path)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}
