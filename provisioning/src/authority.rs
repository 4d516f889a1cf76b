//! The authority's folder: what it knows and which keys it has.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::Write,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use luxchat_bundle::{
    AuthorityCertificate, CertificateAuthority, Member, Members, PublicKey, ReleaseFile,
    SigningKey,
    files::{self, Access},
};
use serde::{Serialize, de::DeserializeOwned};
use tough::schema::{RoleType, Root};

use crate::{
    Error, KeyCost, KeyName, KeyRole, Passphrases, Settings, key_file,
    metadata::{self, holds, parse_root},
};

const SETTINGS: &str = "authority.toml";
const CERTIFICATE: &str = "certificate-authority.pem";
const KEYS: &str = "keys.json";
const MEMBERS: &str = "members.json";
/// The list of release files, beside the folder of the same name that holds them.
const RELEASE_LIST: &str = "releases.json";
/// Where the files of releases lie.
pub(crate) const RELEASES: &str = "releases";
const PUBLICATION: &str = "publication.json";
const JOURNAL: &str = "journal.log";
const LOCK: &str = "lock";
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The national authority, as it lies in a folder. Every change is on disk when a method returns,
/// and written to the journal before it is made.
#[derive(Debug)]
pub struct Authority {
    pub(crate) folder: PathBuf,
    /// Where else key files may be: on the holders' sticks.
    key_folders: Vec<PathBuf>,
    pub(crate) cost: KeyCost,
    pub(crate) settings: Settings,
    certificate: AuthorityCertificate,
    /// Every signing key there ever was.
    pub(crate) keys: BTreeMap<KeyName, PublicKey>,
    pub(crate) root: Root,
    members: Members,
    pub(crate) release_files: Vec<ReleaseFile>,
    last_publication: u64,
    /// Held until the authority is dropped.
    _lock: File,
}

/// What a new authority begins with.
#[derive(Debug)]
pub(crate) struct Beginning<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) certificate: &'a AuthorityCertificate,
    pub(crate) keys: &'a BTreeMap<KeyName, PublicKey>,
    pub(crate) root: &'a [u8],
    pub(crate) members: &'a Members,
}

impl Authority {
    /// Opens the authority in `folder`. Nobody else can until it is dropped.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        if !folder.join(SETTINGS).is_file() {
            return Err(Error::NoAuthority(folder.to_owned()));
        }
        let lock = lock(folder)?;
        let read = |name: &str| files::read(&folder.join(name), MAX_BYTES);
        let certificate = String::from_utf8_lossy(&read(CERTIFICATE)?).parse()?;
        Ok(Self {
            settings: Settings::read(&folder.join(SETTINGS))?,
            certificate,
            keys: parse(KEYS, &read(KEYS)?)?,
            root: newest_root(folder)?,
            members: Members::from_json(&read(MEMBERS)?)?,
            // Authorities from before there were releases have none.
            release_files: if folder.join(RELEASE_LIST).exists() {
                parse(RELEASE_LIST, &read(RELEASE_LIST)?)?
            } else {
                Vec::new()
            },
            last_publication: parse(PUBLICATION, &read(PUBLICATION)?)?,
            folder: folder.to_owned(),
            key_folders: Vec::new(),
            cost: KeyCost::STANDARD,
            _lock: lock,
        })
    }

    /// Looks for key files in `folders` too.
    #[must_use]
    pub fn with_key_folders(mut self, folders: Vec<PathBuf>) -> Self {
        self.key_folders = folders;
        self
    }

    /// The cost of new keys, in place of [`KeyCost::STANDARD`].
    #[must_use]
    pub fn with_key_cost(mut self, cost: KeyCost) -> Self {
        self.cost = cost;
        self
    }

    /// How long what it signs is good for.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The certificate that members' certificates chain to.
    pub fn certificate(&self) -> &AuthorityCertificate {
        &self.certificate
    }

    /// The members as of the next publication.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The number of the last publication, 0 before the first.
    pub fn last_publication(&self) -> u64 {
        self.last_publication
    }

    /// The version of the newest root of trust.
    pub fn root_version(&self) -> u64 {
        self.root.version.get()
    }

    /// Until when the newest root of trust is good.
    pub fn root_expires(&self) -> Timestamp {
        self.root.expires
    }

    /// The newest root of trust, which boxes are given.
    pub fn trusted_root(&self) -> Result<Vec<u8>, Error> {
        self.read_root(self.root_version())
    }

    /// The root of trust that all others follow.
    pub fn first_root(&self) -> Result<Vec<u8>, Error> {
        self.read_root(1)
    }

    /// The keys in use for `role`, and how many of them must sign.
    pub fn quorum(&self, role: KeyRole) -> (Vec<KeyName>, u64) {
        let role_type = role_type(role);
        let names = self
            .keys
            .iter()
            .filter(|(name, key)| name.role() == Some(role) && holds(&self.root, role_type, **key))
            .map(|(name, _)| *name)
            .collect();
        (names, metadata::threshold(&self.root, role_type))
    }

    /// Writes the folder of a new authority.
    pub(crate) fn begin(folder: &Path, beginning: &Beginning<'_>) -> Result<(), Error> {
        let put =
            |name: &str, bytes: &[u8]| files::create(&folder.join(name), bytes, Access::Public);
        files::create_folder(&folder.join("roots"))?;
        put("roots/1.root.json", beginning.root)?;
        put(CERTIFICATE, beginning.certificate.to_string().as_bytes())?;
        put(KEYS, &to_json(beginning.keys)?)?;
        put(MEMBERS, &beginning.members.to_json())?;
        put(PUBLICATION, b"0\n")?;
        // Last, since it is what makes the folder an authority's.
        put(SETTINGS, beginning.settings.to_toml()?.as_bytes())?;
        Ok(())
    }

    /// The root of trust of that version.
    pub(crate) fn read_root(&self, version: u64) -> Result<Vec<u8>, Error> {
        Ok(files::read(&root_path(&self.folder, version), MAX_BYTES)?)
    }

    /// Where the file of a new key goes.
    pub(crate) fn key_path(&self, name: KeyName) -> PathBuf {
        key_path(&self.folder, name)
    }

    /// The certificate authority's key.
    pub(crate) fn certificate_authority(
        &self,
        passphrases: &dyn Passphrases,
    ) -> Result<CertificateAuthority, Error> {
        let name = KeyName::CertificateAuthority;
        let path = self.find_key(name).ok_or(Error::NoKeyFile(name))?;
        let passphrase = passphrases.ask(name)?.ok_or(Error::NoPassphrase(name))?;
        let key = key_file::read(&path, name, &passphrase)?;
        Ok(CertificateAuthority::from_parts(
            self.certificate.clone(),
            &key,
        )?)
    }

    /// Asks holders of `role`'s keys until `enough` says that those who took part suffice.
    /// `passed_over`, if given, is asked last.
    pub(crate) fn signers(
        &self,
        role: KeyRole,
        passphrases: &dyn Passphrases,
        passed_over: Option<KeyName>,
    ) -> Result<Vec<SigningKey>, Error> {
        let (mut names, need) = self.quorum(role);
        names.sort_by_key(|name| Some(*name) == passed_over);
        let mut signers = Vec::new();
        let mut absent = Vec::new();
        for name in names {
            if signers.len() as u64 >= need {
                break;
            }
            match self.signer(name, passphrases)? {
                Ok(key) => signers.push(key),
                Err(why) => absent.push(format!("{name} ({why})")),
            }
        }
        if (signers.len() as u64) < need {
            return Err(Error::TooFewSigners {
                role: role.as_str(),
                have: signers.len(),
                need,
                absent: absent.join(", "),
            });
        }
        Ok(signers)
    }

    /// Puts a new member list in place.
    pub(crate) fn set_members(&mut self, members: Members) -> Result<(), Error> {
        self.replace(MEMBERS, &members.to_json())?;
        self.members = members;
        Ok(())
    }

    /// Puts a new list of release files in place.
    pub(crate) fn set_release_files(
        &mut self,
        release_files: Vec<ReleaseFile>,
    ) -> Result<(), Error> {
        self.replace(RELEASE_LIST, &to_json(&release_files)?)?;
        self.release_files = release_files;
        Ok(())
    }

    /// Puts a member on the list, in place of the one of that name, and writes `entry` into the
    /// journal.
    pub(crate) fn change_member(
        &mut self,
        entry: &str,
        member: Member,
        now: Timestamp,
    ) -> Result<(), Error> {
        let members = self.members.with(now, member)?;
        self.journal(now, entry)?;
        self.set_members(members)
    }

    /// Takes the number of the next publication. It is not given out again, whatever happens.
    pub(crate) fn take_publication(&mut self) -> Result<u64, Error> {
        let number = self.last_publication + 1;
        self.replace(PUBLICATION, format!("{number}\n").as_bytes())?;
        self.last_publication = number;
        Ok(number)
    }

    /// Adds a signing key.
    pub(crate) fn add_key(&mut self, name: KeyName, key: PublicKey) -> Result<(), Error> {
        let mut keys = self.keys.clone();
        keys.insert(name, key);
        self.replace(KEYS, &to_json(&keys)?)?;
        self.keys = keys;
        Ok(())
    }

    /// Adds the next root of trust.
    pub(crate) fn add_root(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let root = parse_root(bytes)?;
        files::create(
            &root_path(&self.folder, root.version.get()),
            bytes,
            Access::Public,
        )?;
        self.root = root;
        Ok(())
    }

    /// Writes down what is about to be done.
    pub(crate) fn journal(&self, now: Timestamp, action: &str) -> Result<(), Error> {
        append(&self.folder.join(JOURNAL), &format!("{now:.0} {action}\n"))
    }

    /// The key, or why its holder does not take part.
    fn signer(
        &self,
        name: KeyName,
        passphrases: &dyn Passphrases,
    ) -> Result<Result<SigningKey, &'static str>, Error> {
        let Some(path) = self.find_key(name) else {
            return Ok(Err("no key file"));
        };
        let Some(passphrase) = passphrases.ask(name)? else {
            return Ok(Err("no passphrase"));
        };
        let key = SigningKey::from_pkcs8(&key_file::read(&path, name, &passphrase)?)?;
        if self.keys.get(&name) != Some(&key.public_key()) {
            return Err(Error::OtherKey(name));
        }
        Ok(Ok(key))
    }

    fn find_key(&self, name: KeyName) -> Option<PathBuf> {
        let file = format!("{name}.pem");
        let elsewhere = self.key_folders.iter().map(|folder| folder.join(&file));
        std::iter::once(self.key_path(name))
            .chain(elsewhere)
            .find(|path| path.is_file())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        Ok(files::replace(
            &self.folder.join(name),
            bytes,
            Access::Public,
        )?)
    }
}

/// Where a key of the authority in `folder` lies.
pub(crate) fn key_path(folder: &Path, name: KeyName) -> PathBuf {
    folder.join("keys").join(format!("{name}.pem"))
}

/// TUF's name for a role. The publishing keys hold two; this is the one that is asked for.
pub(crate) fn role_type(role: KeyRole) -> RoleType {
    match role {
        KeyRole::Root => RoleType::Root,
        KeyRole::Targets => RoleType::Targets,
        KeyRole::Publishing => RoleType::Timestamp,
    }
}

fn root_path(folder: &Path, version: u64) -> PathBuf {
    folder.join(format!("roots/{version}.root.json"))
}

fn newest_root(folder: &Path) -> Result<Root, Error> {
    let mut version = 1;
    while root_path(folder, version + 1).is_file() {
        version += 1;
    }
    parse_root(&files::read(&root_path(folder, version), MAX_BYTES)?)
}

fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(LOCK);
    let io = |source| luxchat_bundle::Error::Io {
        action: "open",
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Busy(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(error).into()),
    }
}

fn append(path: &Path, line: &str) -> Result<(), Error> {
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(line.as_bytes())?;
            file.sync_all()
        });
    written.map_err(|source| {
        Error::Bundle(luxchat_bundle::Error::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })
    })
}

fn parse<T: DeserializeOwned>(document: &'static str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::Bundle(luxchat_bundle::Error::Malformed {
            document,
            why: error.to_string(),
        })
    })
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(metadata::fault)?;
    bytes.push(b'\n');
    Ok(bytes)
}
