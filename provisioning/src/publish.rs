//! The signed repository for the boxes.

use std::{collections::HashMap, path::Path};

use jiff::Timestamp;
use luxchat_bundle::{
    Bundle, DirectorySource, MEMBERS_FILE, Members, ReleaseFile, RepositoryFile, SigningKey,
    TrustStore, check_release_file, files, write_repository,
};
use tough::{
    TargetName,
    schema::{Hashes, Signed, Snapshot, Target, Targets},
};

use crate::{
    Authority, Error, KeyRole, Passphrases,
    metadata::{SPEC_VERSION, expiry, fault, hashes, metadata_file, metafile, sign, version},
};

const MAX_METADATA_BYTES: usize = 1024 * 1024;

/// What was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Counts the publications.
    pub version: u64,
    /// The version of the root of trust behind it.
    pub root_version: u64,
    /// From this moment on no box relies on it.
    pub expires: Timestamp,
}

impl Authority {
    /// Signs the member list as it stands and puts the repository into `folder`: a new one, or
    /// one with an earlier publication of this authority, which is replaced.
    pub fn publish(
        &mut self,
        folder: &Path,
        passphrases: &dyn Passphrases,
        now: Timestamp,
    ) -> Result<Publication, Error> {
        self.check_folder(folder)?;
        if self.root_expires() <= now {
            return Err(Error::RootExpired(self.root_expires()));
        }
        let targets_keys = self.signers(KeyRole::Targets, passphrases, None)?;
        let publishing_keys = self.signers(KeyRole::Publishing, passphrases, None)?;
        let number = self.take_publication()?;
        self.journal(now, &format!("publish {number}"))?;

        let members = Members::new(
            now,
            vec![self.certificate().clone()],
            self.members().iter().cloned().collect(),
        )?
        .with_revoked_vouchers(self.members().revoked_vouchers().to_vec())?;
        let releases = self.put_releases(folder)?;
        let mut repository = self.roots()?;
        let expires = self.sign_publication(
            number,
            &members,
            &targets_keys,
            &publishing_keys,
            now,
            &mut repository,
        )?;
        write_repository(folder, &repository, &releases)?;
        self.set_members(members)?;
        Ok(Publication {
            version: number,
            root_version: self.root_version(),
            expires,
        })
    }

    fn sign_publication(
        &self,
        number: u64,
        members: &Members,
        targets_keys: &[SigningKey],
        publishing_keys: &[SigningKey],
        now: Timestamp,
        repository: &mut Vec<RepositoryFile>,
    ) -> Result<Timestamp, Error> {
        let days = &self.settings().repository_days;
        let number = version(number)?;
        let spec = || SPEC_VERSION.to_owned();
        let targets_keys: Vec<_> = targets_keys.iter().collect();
        let publishing_keys: Vec<_> = publishing_keys.iter().collect();

        let mut targets = Targets::new(spec(), number, expiry(now, days.targets)?);
        let target = members_target(members);
        targets.add_target(TargetName::new(MEMBERS_FILE).map_err(fault)?, target.1);
        for file in &self.release_files {
            let name = TargetName::new(&file.name).map_err(fault)?;
            targets.add_target(name, release_target(file));
        }
        let mut expires = self.root_expires().min(targets.expires);
        let targets = sign(targets, &targets_keys)?;

        let mut snapshot = Snapshot::new(spec(), number, expiry(now, days.snapshot)?);
        snapshot
            .meta
            .insert("targets.json".to_owned(), metafile(&targets, number));
        expires = expires.min(snapshot.expires);
        let snapshot = sign(snapshot, &publishing_keys)?;

        let mut timestamp =
            tough::schema::Timestamp::new(spec(), number, expiry(now, days.timestamp)?);
        timestamp
            .meta
            .insert("snapshot.json".to_owned(), metafile(&snapshot, number));
        expires = expires.min(timestamp.expires);
        let timestamp = sign(timestamp, &publishing_keys)?;

        repository.push(target.0);
        repository.push(metadata_file(&format!("{number}.targets.json"), targets));
        repository.push(metadata_file(&format!("{number}.snapshot.json"), snapshot));
        repository.push(metadata_file("timestamp.json", timestamp));
        Ok(expires)
    }

    /// Every root of trust: a box follows them one by one from the one that it was given.
    fn roots(&self) -> Result<Vec<RepositoryFile>, Error> {
        (1..=self.root_version())
            .map(|number| Ok(RepositoryFile::root(number, self.read_root(number)?)))
            .collect()
    }

    /// Refuses to write over anything but an earlier publication.
    fn check_folder(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join("metadata/timestamp.json");
        if !path.is_file() {
            let occupied = std::fs::read_dir(folder).is_ok_and(|mut it| it.next().is_some());
            if occupied {
                return Err(Error::NotRepository(folder.to_owned()));
            }
            return Ok(());
        }
        let bytes = files::read(&path, MAX_METADATA_BYTES)?;
        let found: Signed<tough::schema::Timestamp> =
            serde_json::from_slice(&bytes).map_err(|_| Error::NotRepository(folder.to_owned()))?;
        let found = found.signed.version.get();
        if found > self.last_publication() {
            return Err(Error::NewerThere {
                folder: folder.to_owned(),
                found,
                last: self.last_publication(),
            });
        }
        Ok(())
    }
}

/// Checks the repository in `folder` as a box would that begins with `trusted_root`, the files of its
/// releases included.
pub async fn verify(folder: &Path, trusted_root: &[u8], now: Timestamp) -> Result<Bundle, Error> {
    let scratch = tempfile::tempdir().map_err(|source| luxchat_bundle::Error::Io {
        action: "create a folder in",
        path: std::env::temp_dir(),
        source,
    })?;
    let store = TrustStore::create(&scratch.path().join("trust"), trusted_root)?;
    let source = std::sync::Arc::new(DirectorySource::new(folder));
    let bundle = store.update(source, now).await?;
    for file in store.releases(now).await?.iter().flat_map(|it| &it.files) {
        check_release_file(&folder.join(file.path()), file)?;
    }
    Ok(bundle)
}

/// What the targets say of a file of a release.
fn release_target(file: &ReleaseFile) -> Target {
    Target {
        length: file.length,
        hashes: Hashes {
            sha256: file.digest.as_bytes().to_vec().into(),
            _extra: HashMap::new(),
        },
        custom: HashMap::new(),
        _extra: HashMap::new(),
    }
}

/// The member list as a file of the repository, named after its digest, and what the targets say
/// of it.
fn members_target(members: &Members) -> (RepositoryFile, Target) {
    use std::fmt::Write;
    let bytes = members.to_json();
    let hashes = hashes(&bytes);
    let digest = hashes.sha256.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let target = Target {
        length: bytes.len() as u64,
        hashes,
        custom: HashMap::new(),
        _extra: HashMap::new(),
    };
    let file = RepositoryFile {
        path: format!("targets/{digest}.{MEMBERS_FILE}"),
        bytes,
    };
    (file, target)
}
