//! Fetching releases of a sealed box's operating system, so that they are here when they may be installed.
//!
//! This program only fetches: another, which alone may write the disk's slots, verifies again and installs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use luxchat_bundle::{Naming, ReleaseFolder, ReleaseVersion, Source, TrustStore, files};
use luxchat_store::Clock;
use nix::sys::statvfs::statvfs;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often a newer release is looked for.
const PERIOD: Duration = Duration::from_mins(1);

/// What a release must leave free on the disk, in bytes: messages come first.
const MARGIN: u64 = 512 * 1024 * 1024;

/// Fetches the newest release that the directory names.
#[derive(Debug)]
pub struct Releases {
    /// The release that runs.
    pub running: ReleaseVersion,
    /// What the authority signed.
    pub trust: Arc<TrustStore>,
    /// Where files are fetched.
    pub source: Arc<dyn Source>,
    /// Where they go, as in a repository.
    pub folder: PathBuf,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Releases {
    /// The release that this machine runs. `None` on one that is no sealed box.
    pub fn running() -> Option<ReleaseVersion> {
        let text = std::fs::read_to_string("/usr/lib/os-release").ok()?;
        let value = |key: &str| {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(key));
            Some(values.next()?.trim_matches('"'))
        };
        (value("ID=")? == "luxchat").then_some(())?;
        value("IMAGE_VERSION=")?.parse().ok()
    }

    /// Looks again and again until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut before: Option<String> = None;
        loop {
            let outcome = stop.run_until_cancelled(self.look()).await;
            let Some(outcome) = outcome else { return };
            let problem = outcome.err().map(|error| format!("{error:#}"));
            if before != problem {
                if let Some(problem) = &problem {
                    warn!(%problem, "a new release could not be fetched");
                }
                before = problem;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    /// Looks once, and fetches what is missing of the newest release.
    ///
    /// # Errors
    ///
    /// Why it could not be had. What came of it stays, and is gone on with.
    pub async fn look(&self) -> Result<()> {
        let now = crate::timestamp(self.clock.now_ms())?;
        let folder = ReleaseFolder::new(self.folder.join("targets"));
        let newest = self.trust.releases(now).await?.into_iter().next_back();
        let Some(release) = newest.filter(|it| it.version > self.running) else {
            return Ok(folder.clear()?);
        };
        if folder.holds(&release, Naming::Digest) {
            return Ok(());
        }
        files::create_folder(folder.path())?;
        let needed = folder
            .missing(&release, Naming::Digest)
            .saturating_add(MARGIN);
        let disk = statvfs(folder.path())?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        if free < needed {
            bail!(
                "the disk is too full for release {}: {needed} bytes are needed, {free} are free",
                release.version
            );
        }
        folder
            .fetch(&release, &*self.source, Naming::Digest)
            .await?;
        info!(version = %release.version, "a new release is here and waits to be installed");
        Ok(())
    }
}
