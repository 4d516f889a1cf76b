//! What lies where in a box's data folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

/// Held while a process serves a data folder.
pub type Lock = Flock<std::fs::File>;

/// A box's data folder.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// The folder at `path`, made where it is missing.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path)
            .with_context(|| format!("cannot make the data folder {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Keeps a second process from serving the same folder, as long as the lock is held.
    ///
    /// # Errors
    ///
    /// When another process holds it.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.0.join("lock");
        let file = std::fs::File::create(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| anyhow::anyhow!("another process is serving {}", self.0.display()))
    }

    /// The TLS key and the Matrix signing key. They never leave the box.
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// What the authority answered to the box's signing request.
    pub fn enrolment(&self) -> PathBuf {
        self.0.join("enrolment.json")
    }

    /// The root of trust, and the last good publication of the directory.
    pub fn trust(&self) -> PathBuf {
        self.0.join("trust")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.0.join("luxchat.db")
    }

    /// The release of the operating system that was fetched last, in the layout of a repository.
    pub fn releases(&self) -> PathBuf {
        self.0.join("releases")
    }

    /// The bytes of media.
    pub fn media(&self) -> PathBuf {
        self.0.join("media")
    }

    /// The operator's socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }
}
