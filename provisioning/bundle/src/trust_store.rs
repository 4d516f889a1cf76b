//! The last good repository, and the way to a newer one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::{
    DirectorySource, Error, Fingerprint, Members, Order, Release, RepositoryFile, ServerName,
    Source, UpdateError,
    copy::Copy,
    transport::{MAX_METADATA_BYTES, Recorder},
    verification::{holders, precedes, root_version, verify},
};

/// A verified repository, as far as a box needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Who may federate.
    pub members: Members,
    /// Counts the publications: the version of the signed timestamp.
    pub version: u64,
    /// The version of the root of trust behind it.
    pub root_version: u64,
    /// From this moment on nothing in it may be relied upon.
    pub expires: Timestamp,
}

/// A folder that keeps the root of trust and the last good repository.
///
/// Inside are `root.json`, as the box was given it at enrolment, and `metadata` and `targets` as
/// in the repository. A newer repository's files, all named after their version or digest, are
/// put beside the old ones; `timestamp.json`, which leads to them, is replaced last, so that an
/// interruption at any moment leaves a whole repository.
#[derive(Debug)]
pub struct TrustStore {
    copy: Copy,
    /// One verification at a time: an update must not be judged against a copy that another one
    /// is about to replace.
    verifying: Mutex<()>,
}

impl TrustStore {
    /// Makes the folder with its root of trust.
    ///
    /// # Errors
    /// There is one already, or `trusted_root` is not a root that its own keys signed.
    pub fn create(folder: &Path, trusted_root: &[u8]) -> Result<Self, Error> {
        Ok(Self::with(Copy::create(folder, trusted_root)?))
    }

    /// Opens a folder that [`TrustStore::create`] made.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self::with(Copy::open(folder)?))
    }

    /// The folder. A directory may serve the files in its `metadata` and `targets`: each was
    /// verified before it was put there.
    pub fn folder(&self) -> &Path {
        self.copy.folder()
    }

    /// The last good repository, verified anew from the root of trust. `None` if none was ever
    /// taken over.
    ///
    /// # Errors
    /// Among others [`UpdateError::Expired`], if it has expired by `now`.
    pub async fn current(&self, now: Timestamp) -> Result<Option<Bundle>, UpdateError> {
        let current = self.verify_current(now).await?;
        Ok(current.map(|(bundle, _)| bundle))
    }

    /// The releases of the box's operating system that the last good repository names, verified
    /// anew like [`TrustStore::current`], oldest first.
    pub async fn releases(&self, now: Timestamp) -> Result<Vec<Release>, UpdateError> {
        let current = self.verify_current(now).await?;
        Ok(current.map(|(_, releases)| releases).unwrap_or_default())
    }

    async fn verify_current(
        &self,
        now: Timestamp,
    ) -> Result<Option<(Bundle, Vec<Release>)>, UpdateError> {
        let _one_at_a_time = self.verifying.lock().await;
        if !self.copy.is_there() {
            return Ok(None);
        }
        let root = self.copy.first_root().map_err(UpdateError::Store)?;
        let scratch = self.copy.scratch().map_err(UpdateError::Store)?;
        let recorder = Recorder::new(Arc::new(DirectorySource::new(self.folder())));
        verify(&root, &recorder, scratch.path(), now)
            .await
            .map(Some)
    }

    /// Takes over the repository at `source` if it verifies and is not older than the one at hand.
    /// What it returns is in force and on disk.
    ///
    /// # Errors
    /// Any reason not to take it over; the one at hand stays.
    pub async fn update(
        &self,
        source: Arc<dyn Source>,
        now: Timestamp,
    ) -> Result<Bundle, UpdateError> {
        let _one_at_a_time = self.verifying.lock().await;
        let root = self.copy.newest_root().map_err(UpdateError::Store)?;
        let scratch = self.copy.scratch().map_err(UpdateError::Store)?;
        let standing = self.copy.standing().map_err(UpdateError::Store)?;
        standing
            .put_before(scratch.path())
            .map_err(UpdateError::Store)?;
        let recorder = Recorder::new(Arc::clone(&source));
        let (bundle, _) = verify(&root, &recorder, scratch.path(), now).await?;
        let mut fetched = recorder.files();
        fetched.extend(self.earlier_roots(&*source).await);
        let folder: PathBuf = self.folder().to_owned();
        tokio::task::spawn_blocking(move || standing.replace(&folder, &fetched))
            .await
            .expect("the task is not aborted, and writing files does not panic")
            .map_err(UpdateError::Store)?;
        Ok(bundle)
    }

    /// Whether `root` is one of those that this store's trust goes through: then an enrolment that
    /// hands it over comes from the same authority.
    pub fn knows_root(&self, root: &[u8]) -> bool {
        self.copy.knows_root(root)
    }

    /// Whether the box of that name and key must follow `order`: whether the holders that the newest root of trust names
    /// have signed it.
    ///
    /// # Errors
    /// Why it need not.
    pub fn check_order(
        &self,
        order: &Order,
        server_name: &ServerName,
        key: Fingerprint,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (keys, threshold) = holders(&self.copy.newest_root()?)?;
        order.check(server_name, key, &keys, threshold, now)
    }

    /// The roots of trust up to the one that this box was given. It has no use for them, but those
    /// that are served from this copy may have begun with one. What does not lead here, link by
    /// link, is not taken.
    async fn earlier_roots(&self, source: &dyn Source) -> Vec<RepositoryFile> {
        let mut roots = Vec::new();
        let Ok(mut next) = self.copy.first_root() else {
            return roots;
        };
        let Ok(first) = root_version(&next) else {
            return roots;
        };
        roots.push(RepositoryFile::root(first, next.clone()));
        for version in (1..first).rev() {
            let RepositoryFile { path, .. } = RepositoryFile::root(version, Vec::new());
            let older = match self.copy.read(&path) {
                Ok(Some(older)) => older,
                _ => match source.fetch(&path, MAX_METADATA_BYTES).await {
                    Ok(older) => older,
                    Err(_) => break,
                },
            };
            if !precedes(&older, &next) {
                break;
            }
            roots.push(RepositoryFile {
                path,
                bytes: older.clone(),
            });
            next = older;
        }
        roots
    }

    fn with(copy: Copy) -> Self {
        Self {
            copy,
            verifying: Mutex::default(),
        }
    }
}
