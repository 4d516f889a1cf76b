//! The last good repository, and the way to a newer one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::sync::Mutex;
use tough::{
    ExpirationEnforcement, IntoVec, Limits, Repository, RepositoryLoader, TargetName,
    schema::{Root, Signed, Snapshot},
};
use url::Url;

use crate::{
    DirectorySource, Error, MAX_MEMBERS_BYTES, MEMBERS_FILE, Members, Source, UpdateError,
    files::{self, Access},
    transport::{BASE, MAX_METADATA_BYTES, Recorder},
};

/// How many roots may follow one another.
const MAX_ROOTS: u64 = 1024;

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
    folder: PathBuf,
    /// One update at a time.
    updating: Mutex<()>,
}

impl TrustStore {
    /// Makes the folder with its root of trust.
    ///
    /// # Errors
    /// There is one already, or `trusted_root` is not a root that its own keys signed.
    pub fn create(folder: &Path, trusted_root: &[u8]) -> Result<Self, Error> {
        parse_root(trusted_root)?;
        files::create_folder(folder)?;
        files::create_folder(&folder.join("metadata"))?;
        files::create_folder(&folder.join("targets"))?;
        files::create(&folder.join("root.json"), trusted_root, Access::Public)?;
        Self::open(folder)
    }

    /// Opens a folder that [`TrustStore::create`] made.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let root = files::read(&folder.join("root.json"), metadata_limit())?;
        parse_root(&root)?;
        Ok(Self {
            folder: folder.to_owned(),
            updating: Mutex::default(),
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The last good repository, verified anew from the root of trust. `None` if none was ever
    /// taken over.
    ///
    /// # Errors
    /// Among others [`UpdateError::Expired`], if it has expired by `now`.
    pub async fn current(&self, now: Timestamp) -> Result<Option<Bundle>, UpdateError> {
        let _one_at_a_time = self.updating.lock().await;
        if !self.folder.join("metadata/timestamp.json").exists() {
            return Ok(None);
        }
        let root = files::read(&self.folder.join("root.json"), metadata_limit())
            .map_err(UpdateError::Store)?;
        let recorder = Recorder::new(Arc::new(DirectorySource::new(&self.folder)));
        let scratch = self.scratch().map_err(UpdateError::Store)?;
        let bundle = verify(&root, &recorder, scratch.path(), now).await?;
        Ok(Some(bundle))
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
        let _one_at_a_time = self.updating.lock().await;
        let recorder = Recorder::new(source);
        let scratch = self.scratch().map_err(UpdateError::Store)?;
        self.seed(scratch.path()).map_err(UpdateError::Store)?;
        let root = self.newest_root().map_err(UpdateError::Store)?;
        let bundle = verify(&root, &recorder, scratch.path(), now).await?;
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || commit(&folder, recorder.files()))
            .await
            .map_err(|error| UpdateError::Fetch(error.to_string()))?
            .map_err(UpdateError::Store)?;
        Ok(bundle)
    }
}

impl TrustStore {
    /// Where tough keeps its notes during one verification.
    fn scratch(&self) -> Result<tempfile::TempDir, Error> {
        tempfile::Builder::new()
            .prefix(".verify-")
            .tempdir_in(&self.folder)
            .map_err(|source| files::io_error("write", &self.folder, source))
    }

    /// Puts before tough what it must not fall behind: the metadata at hand. What of it is missing
    /// or damaged is left out.
    fn seed(&self, scratch: &Path) -> Result<(), Error> {
        let metadata = self.folder.join("metadata");
        let put = |name: &str, bytes: &[u8]| {
            std::fs::write(scratch.join(name), bytes)
                .map_err(|source| files::io_error("write", scratch, source))
        };
        let Some(timestamp) = read_optional(&metadata.join("timestamp.json"))? else {
            return Ok(());
        };
        put("timestamp.json", &timestamp)?;
        let Some(version) = snapshot_version(&timestamp) else {
            return Ok(());
        };
        let Some(snapshot) = read_optional(&metadata.join(format!("{version}.snapshot.json")))?
        else {
            return Ok(());
        };
        put("snapshot.json", &snapshot)?;
        let Some(version) = targets_version(&snapshot) else {
            return Ok(());
        };
        match read_optional(&metadata.join(format!("{version}.targets.json")))? {
            Some(targets) => put("targets.json", &targets),
            None => Ok(()),
        }
    }

    /// The newest root at hand: each one here was verified against the one before when it came.
    fn newest_root(&self) -> Result<Vec<u8>, Error> {
        let mut newest = files::read(&self.folder.join("root.json"), metadata_limit())?;
        let mut version = parse_root(&newest)?.signed.version.get();
        for _ in 0..MAX_ROOTS {
            let path = self
                .folder
                .join(format!("metadata/{}.root.json", version + 1));
            let Some(next) = read_optional(&path)? else {
                break;
            };
            match parse_root(&next) {
                Ok(root) if root.signed.version.get() == version + 1 => newest = next,
                _ => break,
            }
            version += 1;
        }
        Ok(newest)
    }
}

/// Refuses a root of trust that its own keys did not sign.
pub(crate) fn check_root(bytes: &[u8]) -> Result<(), Error> {
    parse_root(bytes).map(drop)
}

/// Verifies the repository behind `recorder`, starting from `root`, and reads its member list.
///
/// Expiry is checked here and not by tough, which reads the system's clock: with all the rest
/// verified, every date in it is compared with `now`.
async fn verify(
    root: &[u8],
    recorder: &Recorder,
    scratch: &Path,
    now: Timestamp,
) -> Result<Bundle, UpdateError> {
    let url = |path: &str| {
        Url::parse(&format!("{BASE}{path}")).map_err(|e| UpdateError::Malformed(e.to_string()))
    };
    let repository = RepositoryLoader::new(&root, url("metadata/")?, url("targets/")?)
        .transport(recorder.clone())
        .limits(Limits {
            max_root_size: MAX_METADATA_BYTES,
            max_targets_size: MAX_METADATA_BYTES,
            max_timestamp_size: MAX_METADATA_BYTES,
            max_snapshot_size: MAX_METADATA_BYTES,
            max_root_updates: MAX_ROOTS,
        })
        .datastore(scratch)
        .expiration_enforcement(ExpirationEnforcement::Unsafe)
        .load()
        .await
        .map_err(|error| {
            let files = recorder.files();
            UpdateError::from_tough(error, |role| count_signatures(&files, role))
        })?;
    if repository
        .targets()
        .signed
        .delegations
        .as_ref()
        .is_some_and(|it| !it.roles.is_empty())
    {
        return Err(UpdateError::Malformed("it delegates targets".to_owned()));
    }
    if !repository.root().signed.consistent_snapshot {
        return Err(UpdateError::Malformed(
            "it has no consistent snapshots".to_owned(),
        ));
    }
    let members = read_members(&repository, recorder).await?;
    // A box whose clock has lost the time is at least not before the list was written.
    let expires = check_expiry(&repository, now.max(members.issued_at()))?;
    Ok(Bundle {
        members,
        version: repository.timestamp().signed.version.get(),
        root_version: repository.root().signed.version.get(),
        expires,
    })
}

async fn read_members(
    repository: &Repository,
    recorder: &Recorder,
) -> Result<Members, UpdateError> {
    let from_tough = |error| {
        let files = recorder.files();
        UpdateError::from_tough(error, |role| count_signatures(&files, role))
    };
    let name = TargetName::new(MEMBERS_FILE).map_err(from_tough)?;
    let bytes = repository
        .read_target(&name)
        .await
        .map_err(from_tough)?
        .ok_or_else(|| UpdateError::Missing(MEMBERS_FILE.to_owned()))?
        .into_vec()
        .await
        .map_err(from_tough)?;
    Members::from_json(&bytes).map_err(UpdateError::Members)
}

/// The first moment at which some part is no longer good, if that is still to come.
fn check_expiry(repository: &Repository, now: Timestamp) -> Result<Timestamp, UpdateError> {
    let dates = [
        ("root", repository.root().signed.expires),
        ("timestamp", repository.timestamp().signed.expires),
        ("snapshot", repository.snapshot().signed.expires),
        ("targets", repository.targets().signed.expires),
    ];
    let mut earliest = Timestamp::MAX;
    for (role, at) in dates {
        if at <= now {
            return Err(UpdateError::Expired { role, at });
        }
        earliest = earliest.min(at);
    }
    Ok(earliest)
}

/// Puts verified files in place, the one that leads to the others last, and drops those that
/// nothing leads to any more.
fn commit(folder: &Path, fetched: BTreeMap<String, Vec<u8>>) -> Result<(), Error> {
    const LAST: &str = "metadata/timestamp.json";
    let mut keep = Vec::new();
    for (path, bytes) in fetched.iter().filter(|(path, _)| *path != LAST) {
        let path = folder.join(path);
        if read_optional(&path)?.as_ref() != Some(bytes) {
            files::replace(&path, bytes, Access::Public)?;
        }
        keep.push(path);
    }
    if let Some(bytes) = fetched.get(LAST) {
        let path = folder.join(LAST);
        if read_optional(&path)?.as_ref() != Some(bytes) {
            files::replace(&path, bytes, Access::Public)?;
            prune(folder, &keep);
        }
    }
    Ok(())
}

/// Removes what neither leads to the current repository nor is a root. A file that will not go
/// does no harm.
fn prune(folder: &Path, keep: &[PathBuf]) {
    for name in ["metadata", "targets"] {
        let Ok(entries) = std::fs::read_dir(folder.join(name)) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let text = path.to_string_lossy();
            let lasting = text.ends_with(".root.json") || text.ends_with("/timestamp.json");
            if !lasting && !keep.contains(&path) {
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove an old file");
                }
            }
        }
    }
}

/// How many signatures stand under the newest fetched metadata of `role`.
fn count_signatures(files: &BTreeMap<String, Vec<u8>>, role: &str) -> u64 {
    #[derive(serde::Deserialize)]
    struct Signatures {
        signatures: Vec<serde::de::IgnoredAny>,
    }
    files
        .iter()
        .filter(|(path, _)| {
            path.ends_with(&format!(".{role}.json")) || path.ends_with(&format!("/{role}.json"))
        })
        .filter_map(|(_, bytes)| serde_json::from_slice::<Signatures>(bytes).ok())
        .map(|it| it.signatures.len() as u64)
        .next_back()
        .unwrap_or(0)
}

fn snapshot_version(timestamp: &[u8]) -> Option<u64> {
    let timestamp: Signed<tough::schema::Timestamp> = serde_json::from_slice(timestamp).ok()?;
    Some(timestamp.signed.meta.get("snapshot.json")?.version.get())
}

fn targets_version(snapshot: &[u8]) -> Option<u64> {
    let snapshot: Signed<Snapshot> = serde_json::from_slice(snapshot).ok()?;
    Some(snapshot.signed.meta.get("targets.json")?.version.get())
}

fn parse_root(bytes: &[u8]) -> Result<Signed<Root>, Error> {
    let fault = |why: String| Error::Malformed {
        document: "root of trust",
        why,
    };
    let root: Signed<Root> =
        serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?;
    root.signed
        .verify_role(&root)
        .map_err(|error| fault(error.to_string()))?;
    Ok(root)
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match files::read(path, MAX_MEMBERS_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn metadata_limit() -> usize {
    usize::try_from(MAX_METADATA_BYTES).unwrap_or(usize::MAX)
}
