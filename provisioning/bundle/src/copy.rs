//! The copy of the last good repository on this machine's disk.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tough::schema::{Signed, Snapshot, Targets, Timestamp};

use crate::{
    Error, MAX_MEMBERS_BYTES,
    files::{self, Access},
    transport::{MAX_METADATA_BYTES, RepositoryFile},
    verification::{MAX_ROOTS, root_version},
};

/// The file that leads to all others.
const TIMESTAMP: &str = "metadata/timestamp.json";
/// The root of trust as it was handed over.
const FIRST_ROOT: &str = "root.json";
/// How the folders for tough's notes begin.
const SCRATCH: &str = ".verify-";
/// Longer than any verification takes.
const MAX_VERIFICATION: Duration = Duration::from_hours(1);

/// Puts the files of a repository into `folder`, in place of the one that may be there. Whoever
/// reads the folder meanwhile, or after an interruption, finds the old repository or the new one.
/// Of the large files, those under `beside` (paths inside the repository) are there already and stay.
pub fn write_repository(
    folder: &Path,
    repository: &[RepositoryFile],
    beside: &[String],
) -> Result<(), Error> {
    files::create_folder(&folder.join("metadata"))?;
    files::create_folder(&folder.join("targets"))?;
    let copy = Copy {
        folder: folder.to_owned(),
    };
    let mut standing = copy.standing()?;
    standing.targets.extend_from_slice(beside);
    standing.replace(folder, repository)
}

/// A folder with the root of trust and a repository.
#[derive(Debug)]
pub(crate) struct Copy {
    folder: PathBuf,
}

/// The repository that the copy held at one moment: what a newer one must not fall behind.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Name for tough, path in the repository and content of each metadata file that leads on.
    metadata: Vec<(&'static str, String, Vec<u8>)>,
    /// The paths of the targets.
    targets: Vec<String>,
}

impl Copy {
    pub(crate) fn create(folder: &Path, trusted_root: &[u8]) -> Result<Self, Error> {
        root_version(trusted_root)?;
        files::create_folder(&folder.join("metadata"))?;
        files::create_folder(&folder.join("targets"))?;
        files::create(&folder.join(FIRST_ROOT), trusted_root, Access::Public)?;
        Self::open(folder)
    }

    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let copy = Self {
            folder: folder.to_owned(),
        };
        root_version(&copy.first_root()?)?;
        copy.sweep();
        Ok(copy)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether there is a repository, beyond the root of trust.
    pub(crate) fn is_there(&self) -> bool {
        self.folder.join(TIMESTAMP).exists()
    }

    /// The root of trust as it was handed over.
    pub(crate) fn first_root(&self) -> Result<Vec<u8>, Error> {
        files::read(&self.folder.join(FIRST_ROOT), metadata_limit())
    }

    /// The newest root at hand: each one was verified against the one before when it came.
    pub(crate) fn newest_root(&self) -> Result<Vec<u8>, Error> {
        let mut newest = self.first_root()?;
        let first = root_version(&newest)?;
        for version in (first + 1)..(first + MAX_ROOTS) {
            match self.read(&format!("metadata/{version}.root.json"))? {
                Some(next) if root_version(&next).is_ok_and(|it| it == version) => newest = next,
                _ => break,
            }
        }
        Ok(newest)
    }

    /// Whether `root` is the one that was handed over, or one here that followed it.
    pub(crate) fn knows_root(&self, root: &[u8]) -> bool {
        let Ok(version) = root_version(root) else {
            return false;
        };
        let first = self.first_root();
        if first.as_deref().is_ok_and(|it| it == root) {
            return true;
        }
        let follows = first
            .and_then(|it| root_version(&it))
            .is_ok_and(|first| version > first);
        let here = self.read(&format!("metadata/{version}.root.json"));
        follows && here.is_ok_and(|it| it.as_deref() == Some(root))
    }

    /// A folder for tough's notes during one verification.
    pub(crate) fn scratch(&self) -> Result<tempfile::TempDir, Error> {
        tempfile::Builder::new()
            .prefix(SCRATCH)
            .tempdir_in(&self.folder)
            .map_err(|source| files::io_error("write", &self.folder, source))
    }

    /// Removes what interrupted verifications left behind. What is young may be another process's.
    fn sweep(&self) {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten();
        for entry in entries.flatten() {
            let is_scratch = entry.file_name().to_string_lossy().starts_with(SCRATCH);
            let is_old = entry
                .metadata()
                .and_then(|it| it.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > MAX_VERIFICATION));
            if is_scratch && is_old {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// The repository at hand. What of it is missing or damaged is left out, and so is what that
    /// would have led to.
    pub(crate) fn standing(&self) -> Result<Standing, Error> {
        let mut standing = Standing::default();
        let Some(bytes) = self.read(TIMESTAMP)? else {
            return Ok(standing);
        };
        let snapshot = parse::<Timestamp>(&bytes)
            .and_then(|it| Some(it.meta.get("snapshot.json")?.version))
            .map(|version| format!("metadata/{version}.snapshot.json"));
        standing
            .metadata
            .push(("timestamp.json", TIMESTAMP.to_owned(), bytes));

        let Some((path, bytes)) = self.follow(snapshot)? else {
            return Ok(standing);
        };
        let targets = parse::<Snapshot>(&bytes)
            .and_then(|it| Some(it.meta.get("targets.json")?.version))
            .map(|version| format!("metadata/{version}.targets.json"));
        standing.metadata.push(("snapshot.json", path, bytes));

        let Some((path, bytes)) = self.follow(targets)? else {
            return Ok(standing);
        };
        standing.targets = parse::<Targets>(&bytes)
            .iter()
            .flat_map(|it| &it.targets)
            .map(|(name, target)| {
                let digest = hex(&target.hashes.sha256);
                format!("targets/{digest}.{}", name.resolved())
            })
            .collect();
        standing.metadata.push(("targets.json", path, bytes));
        Ok(standing)
    }

    fn follow(&self, path: Option<String>) -> Result<Option<(String, Vec<u8>)>, Error> {
        let Some(path) = path else {
            return Ok(None);
        };
        Ok(self.read(&path)?.map(|bytes| (path, bytes)))
    }

    /// A file of the repository, if it is there.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        read_optional(&self.folder.join(path))
    }
}

impl Standing {
    /// Puts the metadata where tough looks for what it verified last.
    pub(crate) fn put_before(&self, scratch: &Path) -> Result<(), Error> {
        self.metadata.iter().try_for_each(|(name, _, bytes)| {
            std::fs::write(scratch.join(name), bytes)
                .map_err(|source| files::io_error("write", scratch, source))
        })
    }

    /// Puts verified files in place, the one that leads to the others last. This repository stays
    /// beside the new one, for peers that are in the midst of fetching it; what is older goes.
    pub(crate) fn replace(&self, folder: &Path, fetched: &[RepositoryFile]) -> Result<(), Error> {
        let (last, first): (Vec<_>, Vec<_>) =
            fetched.iter().partition(|file| file.path == TIMESTAMP);
        for file in &first {
            put_if_different(&folder.join(&file.path), &file.bytes)?;
        }
        let stands = |file: &&RepositoryFile| {
            let standing = self.metadata.first();
            standing.is_some_and(|(_, _, bytes)| *bytes == file.bytes)
        };
        if last.iter().all(stands) {
            return Ok(());
        }
        self.prune(folder, &first);
        last.iter()
            .try_for_each(|file| put_if_different(&folder.join(&file.path), &file.bytes))
    }

    /// Removes what leads neither to this repository nor to the new one. A file that will not go
    /// does no harm.
    fn prune(&self, folder: &Path, fetched: &[&RepositoryFile]) {
        let keeps = |path: &Path| {
            path.ends_with(TIMESTAMP)
                || path.to_string_lossy().ends_with(".root.json")
                || self
                    .metadata
                    .iter()
                    .any(|(_, kept, _)| path.ends_with(kept))
                || self.targets.iter().any(|kept| path.ends_with(kept))
                || fetched.iter().any(|file| path.ends_with(&file.path))
        };
        for name in ["metadata", "targets"] {
            let entries = std::fs::read_dir(folder.join(name)).into_iter().flatten();
            let paths = entries.flatten().map(|entry| entry.path());
            for path in paths.filter(|path| !keeps(path)) {
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove an old file");
                }
            }
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let signed: Signed<T> = serde_json::from_slice(bytes).ok()?;
    Some(signed.signed)
}

fn put_if_different(path: &Path, bytes: &Vec<u8>) -> Result<(), Error> {
    if read_optional(path)?.as_ref() == Some(bytes) {
        return Ok(());
    }
    files::replace(path, bytes, Access::Public)
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match files::read(path, MAX_MEMBERS_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn metadata_limit() -> usize {
    usize::try_from(MAX_METADATA_BYTES).unwrap_or(usize::MAX)
}
