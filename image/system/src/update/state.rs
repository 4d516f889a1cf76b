//! What is remembered of updates from one start to the next, and what people are told.

use std::path::PathBuf;

use anyhow::Result;
use luxchat_bundle::{
    ReleaseVersion,
    files::{self, Access},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{paths::Paths, say::printable};

const MAX_BYTES: usize = 64 * 1024;
/// More words than this are cut off.
const MAX_WORDS: usize = 2_000;

/// A release in the other slot that the box has not been found good with yet.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// Which.
    pub version: ReleaseVersion,
    /// The start of the box during which it was installed.
    pub boot: String,
    /// Whether all of it is there: the power may have failed meanwhile.
    pub whole: bool,
}

/// A release with which the box was not good. It is not tried again.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Which.
    pub version: ReleaseVersion,
    /// Why, in words.
    pub reason: String,
}

/// What the console shows.
#[derive(Debug, Serialize)]
struct Words<'a> {
    message: &'a str,
}

/// The files of this module.
#[derive(Clone, Copy, Debug)]
pub struct State;

impl State {
    /// The release that waits to be found good.
    pub fn pending(paths: &Paths) -> Result<Option<Pending>> {
        read(pending(paths))
    }

    /// Remembers that a release is being installed during this start, or is there.
    pub fn set_pending(paths: &Paths, version: &ReleaseVersion, whole: bool) -> Result<()> {
        let now = Pending {
            version: version.clone(),
            boot: boot(paths),
            whole,
        };
        write(pending(paths), &now)
    }

    /// Nothing waits any more.
    pub fn clear_pending(paths: &Paths) -> Result<()> {
        remove(pending(paths))
    }

    /// The release that was tried last and was not good.
    pub fn failure(paths: &Paths) -> Result<Option<Failure>> {
        read(failure(paths))
    }

    /// Remembers that a release was not good.
    pub fn set_failure(paths: &Paths, version: &ReleaseVersion, reason: &str) -> Result<()> {
        let failed = Failure {
            version: version.clone(),
            reason: reason.chars().take(MAX_WORDS).collect(),
        };
        write(failure(paths), &failed)
    }

    /// Tells the console, the journal and the stick, if there is one, what became of updates.
    pub fn tell(paths: &Paths, message: &str) {
        let message = printable(message);
        // Each of the three is a convenience: an update does not fail for want of words.
        if let Ok(mut words) = serde_json::to_vec_pretty(&Words { message: &message }) {
            words.push(b'\n');
            let before = std::fs::read(status(paths)).unwrap_or_default();
            if before == words {
                return;
            }
            let _ = files::create_folder(&folder(paths));
            let _ = files::replace(&status(paths), &words, Access::Public);
        }
        crate::say!("{message}");
        let log = paths.stick().join("log");
        if log.is_dir() {
            let line = format!("{message}\n");
            let _ = files::replace(&log.join("update.txt"), line.as_bytes(), Access::Public);
        }
    }
}

/// The name of this start of the box.
pub(super) fn boot(paths: &Paths) -> String {
    let text = std::fs::read_to_string(paths.at("proc/sys/kernel/random/boot_id"));
    text.unwrap_or_default().trim().to_owned()
}

fn folder(paths: &Paths) -> PathBuf {
    paths.state().join("update")
}

fn pending(paths: &Paths) -> PathBuf {
    folder(paths).join("pending.json")
}

fn failure(paths: &Paths) -> PathBuf {
    folder(paths).join("failed.json")
}

fn status(paths: &Paths) -> PathBuf {
    folder(paths).join("status.json")
}

/// A file that is damaged counts as absent: what it remembers is worth less than the box.
fn read<T: DeserializeOwned>(path: PathBuf) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    Ok(serde_json::from_slice(&files::read(&path, MAX_BYTES)?).ok())
}

fn write(path: PathBuf, value: &impl Serialize) -> Result<()> {
    if let Some(folder) = path.parent() {
        files::create_folder(folder)?;
    }
    let bytes = serde_json::to_vec_pretty(value)?;
    Ok(files::replace(&path, &bytes, Access::Public)?)
}

fn remove(path: PathBuf) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
