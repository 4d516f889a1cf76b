//! New releases of the operating system: verified, put into the other slot, and started when the site file allows it.
//!
//! What is installed has gone through three gates. Signatures, dates and versions of the repository are verified by the
//! trust store, from a root of trust that only root can change; the bytes of each file are compared with the signed digest
//! while they are copied to where only root can write; only then does systemd-sysupdate see them. The new slot boots on
//! trial, see [`health`].

pub mod health;
mod state;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use luxchat_bundle::{
    BoxKeys, DirectorySource, Enrolment, Naming, Release, ReleaseFolder, ReleaseVersion,
    TrustStore, Window, files,
};
use nix::sys::statvfs::statvfs;
use serde::Deserialize;

pub use self::state::{Failure, Pending, State};
use crate::{
    host::Host,
    paths::Paths,
    programs::{CommandLine, SYSTEMCTL},
};

/// The program that writes a release into the other slot.
const SYSUPDATE: &str = "/usr/lib/systemd/systemd-sysupdate";
/// Writing a slot to a slow disk takes its time.
const SYSUPDATE_TIME: Duration = Duration::from_mins(20);
/// What copying a release must leave free on the data volume, in bytes.
const MARGIN: u64 = 64 * 1024 * 1024;
const MAX_SMALL_FILE: usize = 2 * 1024 * 1024;

/// What the site file says of updates.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Policy {
    /// When the box may restart into what it fetched.
    pub window: Window,
}

impl Default for Policy {
    /// Only when somebody asks for it.
    fn default() -> Self {
        Self {
            window: Window::Never,
        }
    }
}

/// Where a repository comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A folder on the stick that a technician brought and waits beside.
    Stick(PathBuf),
    /// What the server's program fetched from the directory.
    Directory,
}

/// What one look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing newer that may be installed.
    Nothing,
    /// A release is in the other slot and waits for a restart in the window.
    Waits(ReleaseVersion),
    /// The box restarts into a release: at once, or as soon as the stick that brought it is done with.
    Restarts(ReleaseVersion),
}

/// Looks for releases on this box.
#[derive(Clone, Copy, Debug)]
pub struct Updater<'a> {
    host: Host<'a>,
    policy: Policy,
    now: Timestamp,
}

impl<'a> Updater<'a> {
    /// On that box, at that time.
    pub fn new(host: Host<'a>, policy: Policy, now: Timestamp) -> Self {
        Self { host, policy, now }
    }

    /// Looks whether `origin` has a newer release, and installs it. From a stick it is started as soon as the stick is
    /// done with, since whoever brought it waits; else when the site file allows.
    ///
    /// # Errors
    ///
    /// Why nothing was installed. What runs goes on.
    pub async fn look(&self, origin: &Origin) -> Result<Outcome> {
        let outcome = self.install_from(origin).await.context(origin.in_words());
        match &outcome {
            // That it restarts was told before it does.
            Ok(Outcome::Nothing | Outcome::Restarts(_)) => {}
            Ok(Outcome::Waits(version)) => State::tell(
                self.host.paths,
                &format!(
                    "release {version} is installed; the box restarts into it in the window {}",
                    self.policy.window
                ),
            ),
            Err(error) => State::tell(self.host.paths, &format!("no update: {error:#}")),
        }
        outcome
    }

    async fn install_from(&self, origin: &Origin) -> Result<Outcome> {
        let running = running_release(self.host.paths)?;
        if let Some(release) = self.newest(origin, &running).await? {
            self.install(&release, origin).await?;
        }
        match State::pending(self.host.paths)? {
            Some(pending) if pending.whole && pending.version > running => {
                self.restart(&pending.version, origin)
            }
            _ => Ok(Outcome::Nothing),
        }
    }

    /// The newest release that an origin has and this box may install.
    async fn newest(&self, origin: &Origin, running: &ReleaseVersion) -> Result<Option<Release>> {
        let (repository, folder) = origin.places(self.host.paths);
        if !repository.join("metadata/timestamp.json").is_file() {
            return Ok(None);
        }
        let trust = self.trust()?;
        trust
            .update(Arc::new(DirectorySource::new(repository)), self.now)
            .await?;
        let releases = trust.releases(self.now).await?;
        let failed = State::failure(self.host.paths)?.map(|it| it.version);
        let pending = State::pending(self.host.paths)?.filter(|it| it.whole);
        let pending = pending.map(|it| it.version);
        let newest = releases.into_iter().next_back().filter(|release| {
            release.version > *running
                && Some(&release.version) != failed.as_ref()
                && Some(&release.version) != pending.as_ref()
        });
        // The directory names a release before its files are all here.
        let is_here = |release: &Release| {
            *origin != Origin::Directory
                || ReleaseFolder::new(folder.join("targets")).holds(release, Naming::Digest)
        };
        Ok(newest.filter(is_here))
    }

    async fn install(&self, release: &Release, origin: &Origin) -> Result<()> {
        let paths = self.host.paths;
        let (_, folder) = origin.places(paths);
        check_certificate(paths, self.now).context(
            "the new release would not be found good, since the box's own certificate is not",
        )?;
        let staged = ReleaseFolder::new(staged(paths));
        files::create_folder(staged.path())?;
        let needed = staged
            .missing(release, Naming::Plain)
            .saturating_add(MARGIN);
        let disk = statvfs(staged.path())?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        if free < needed {
            bail!("the disk is too full for it: {needed} bytes are needed, {free} are free");
        }
        let source = DirectorySource::new(folder);
        staged.fetch(release, &source, Naming::Plain).await?;
        let version = &release.version;
        let sysupdate = CommandLine::new(SYSUPDATE)
            .args(["--verify=no", "update", &version.to_string()])
            .within(SYSUPDATE_TIME);
        // Before, so that it is on trial however soon it is started.
        State::set_pending(paths, version, false)?;
        self.host.programs.run(&sysupdate)?;
        State::set_pending(paths, version, true)?;
        Ok(staged.clear()?)
    }

    fn restart(&self, version: &ReleaseVersion, origin: &Origin) -> Result<Outcome> {
        if *origin == Origin::Directory && !self.policy.window.contains(self.now) {
            return Ok(Outcome::Waits(version.clone()));
        }
        State::tell(
            self.host.paths,
            &format!("the box restarts into release {version}"),
        );
        // A stick is written to before the box restarts, by whoever looks after it.
        if *origin == Origin::Directory {
            restart(self.host)?;
        }
        Ok(Outcome::Restarts(version.clone()))
    }

    /// The root of trust that this program goes by: the one of the enrolment, copied where only root can write, and the
    /// newest publication that it has seen.
    fn trust(&self) -> Result<TrustStore> {
        let folder = self.host.paths.state().join("update/trust");
        if folder.join("root.json").exists() {
            return Ok(TrustStore::open(&folder)?);
        }
        let enrolment = enrolment(self.host.paths)?
            .context("the box is not enrolled: it has no root of trust to check a release by")?;
        Ok(TrustStore::create(
            &folder,
            enrolment.trusted_root.as_bytes(),
        )?)
    }
}

impl Origin {
    fn in_words(&self) -> &'static str {
        match self {
            Self::Stick(_) => "the repository on the stick",
            Self::Directory => "the repository of the directory",
        }
    }

    /// The repository, and the folder with the large files.
    fn places(&self, paths: &Paths) -> (PathBuf, PathBuf) {
        match self {
            Self::Stick(folder) => (folder.clone(), folder.clone()),
            Self::Directory => (
                paths.data_dir().join("trust"),
                paths.data_dir().join("releases"),
            ),
        }
    }
}

/// Restarts the box.
///
/// # Errors
///
/// When the system manager does not.
pub fn restart(host: Host<'_>) -> Result<()> {
    let reboot = CommandLine::new(SYSTEMCTL).arg("reboot");
    host.programs.run(&reboot).map(drop)
}

/// Whether a newer release than the one that runs is in the other slot.
///
/// # Errors
///
/// When that cannot be told.
pub fn is_waiting(paths: &Paths) -> Result<bool> {
    let running = running_release(paths)?;
    Ok(State::pending(paths)?.is_some_and(|it| it.whole && it.version > running))
}

/// The release that runs.
///
/// # Errors
///
/// When this is no sealed box.
pub fn running_release(paths: &Paths) -> Result<ReleaseVersion> {
    let text = std::fs::read_to_string(paths.at("usr/lib/os-release"))?;
    let mut values = text
        .lines()
        .filter_map(|line| line.strip_prefix("IMAGE_VERSION="));
    let version = values.next().context("the system names no release")?;
    Ok(version.trim_matches('"').parse()?)
}

/// Whether the box's own certificate is for its key, by its authority, and in force.
///
/// # Errors
///
/// Why not. A box that is not enrolled has none, which is no error.
pub(crate) fn check_certificate(paths: &Paths, now: Timestamp) -> Result<()> {
    let Some(enrolment) = enrolment(paths)? else {
        return Ok(());
    };
    let keys = BoxKeys::load(&paths.data_dir().join("keys"))?;
    Ok(enrolment.check(&enrolment.server_name, &keys, now)?)
}

fn enrolment(paths: &Paths) -> Result<Option<Enrolment>> {
    let path = paths.data_dir().join("enrolment.json");
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(Enrolment::from_json(&files::read(
        &path,
        MAX_SMALL_FILE,
    )?)?))
}

/// Where systemd-sysupdate finds what may be installed: see the `.transfer` files of the recipe.
fn staged(paths: &Paths) -> PathBuf {
    paths.state().join("update/staged")
}

#[cfg(test)]
mod tests;
