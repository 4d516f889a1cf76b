//! A throwaway authority with cheap keys.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use luxchat_bundle::{
    BoxKeys, Bundle, DirectorySource, Enrolment, RequestDetails, Role, SigningKey, SigningRequest,
    TrustStore, UpdateError,
};
use luxchat_provision::{
    Authority, EnrolOptions, Error, KeyCost, KeyName, KeyRole, Passphrase, Passphrases, Plan,
    Publication, Quorum, SamePassphrase, Settings,
};
use serde::de::DeserializeOwned;
use tough::schema::{Metafile, Role as TufRole, Signed, Snapshot};

pub(crate) const PASSPHRASE: &str = "correct horse battery staple";

/// A folder with an authority, a published repository and boxes.
pub(crate) struct Nation {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) authority: Authority,
}

impl Nation {
    /// Three root keys, two of which must sign; two targets keys, both of which must.
    pub(crate) fn new() -> Self {
        Self::with(&plan())
    }

    pub(crate) fn with(plan: &Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("authority");
        let authority = Authority::init(&home, plan, &everybody(), now()).unwrap();
        Self { folder, authority }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes the keys of a box.
    pub(crate) fn box_keys(&self, name: &str) -> BoxKeys {
        BoxKeys::generate(&self.path(&format!("box-{name}"))).unwrap()
    }

    pub(crate) fn enrol(&mut self, name: &str) -> (BoxKeys, Enrolment) {
        let keys = self.box_keys(name);
        let request = request(name, &keys);
        let enrolment = self
            .authority
            .enrol(&request, EnrolOptions::default(), &everybody(), now())
            .unwrap();
        (keys, enrolment)
    }

    pub(crate) fn publish(&mut self) -> Publication {
        self.publish_at(now())
    }

    pub(crate) fn publish_at(&mut self, now: Timestamp) -> Publication {
        let repository = self.path("repository");
        self.authority
            .publish(&repository, &everybody(), now)
            .unwrap()
    }

    /// Keeps the published repository as it is under another name.
    pub(crate) fn keep_as(&self, name: &str) -> PathBuf {
        let copy = self.path(name);
        for part in ["metadata", "targets"] {
            fs::create_dir_all(copy.join(part)).unwrap();
            for entry in fs::read_dir(self.path("repository").join(part)).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), copy.join(part).join(entry.file_name())).unwrap();
            }
        }
        copy
    }

    /// A box that was given the newest root of trust.
    pub(crate) fn trust_store(&self, name: &str) -> TrustStore {
        let root = self.authority.trusted_root().unwrap();
        TrustStore::create(&self.path(name), &root).unwrap()
    }

    /// A box of which no other test step knows.
    pub(crate) fn fresh_store(&self) -> TrustStore {
        let name = (0..).map(|n| format!("fresh-{n}"));
        let name = name.into_iter().find(|name| !self.path(name).exists());
        self.trust_store(&name.unwrap())
    }

    /// Does what a thief of the publishing key could do: vouches for another targets file.
    pub(crate) fn resign_publishing(&self, targets: &Path, snapshot: &Path, timestamp: &Path) {
        let (names, _) = self.authority.quorum(KeyRole::Publishing);
        let pem = self.path(&format!("authority/keys/{}.pem", names[0]));
        let pem = fs::read_to_string(pem).unwrap();
        let (_, document) = pkcs8::SecretDocument::from_pem(&pem).unwrap();
        let key = pkcs8::EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
            .unwrap()
            .decrypt(PASSPHRASE)
            .unwrap();
        let key = SigningKey::from_pkcs8(key.as_bytes()).unwrap();
        resign::<Snapshot>(snapshot, &key, |it| {
            point(it.meta.get_mut("targets.json").unwrap(), targets);
        });
        resign::<tough::schema::Timestamp>(timestamp, &key, |it| {
            point(it.meta.get_mut("snapshot.json").unwrap(), snapshot);
        });
    }

    /// Offers the published repository to a box.
    pub(crate) async fn offer(&self, store: &TrustStore) -> Result<Bundle, UpdateError> {
        offer(store, self.path("repository"), now()).await
    }
}

pub(crate) async fn offer(
    store: &TrustStore,
    repository: PathBuf,
    now: Timestamp,
) -> Result<Bundle, UpdateError> {
    store
        .update(Arc::new(DirectorySource::new(repository)), now)
        .await
}

pub(crate) fn plan() -> Plan {
    Plan {
        settings: Settings::new("Test Nation"),
        root: Quorum {
            keys: 3,
            threshold: 2,
        },
        targets: Quorum {
            keys: 2,
            threshold: 2,
        },
        cost: KeyCost::NEGLIGIBLE,
    }
}

/// The moment at which these tests take place.
pub(crate) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn after_days(days: i64) -> Timestamp {
    now() + SignedDuration::from_hours(days * 24)
}

pub(crate) fn request(name: &str, keys: &BoxKeys) -> SigningRequest {
    SigningRequest::new(details(name), keys).unwrap()
}

pub(crate) fn details(name: &str) -> RequestDetails {
    let role = if name.starts_with("directory") {
        Role::Directory
    } else {
        Role::Ministry
    };
    RequestDetails {
        server_name: name.parse().unwrap(),
        display_name: format!("The box {name}"),
        role,
        endpoints: vec![format!("{name}:8448").parse().unwrap()],
        created_at: now(),
    }
}

fn point(meta: &mut Metafile, file: &Path) {
    let bytes = fs::read(file).unwrap();
    meta.length = Some(bytes.len() as u64);
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    meta.hashes.as_mut().unwrap().sha256 = digest.as_ref().to_vec().into();
}

fn resign<T: TufRole + DeserializeOwned>(
    file: &Path,
    key: &SigningKey,
    change: impl FnOnce(&mut T),
) {
    let mut signed: Signed<T> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut signed.signed);
    let signature = key.sign(&signed.signed.canonical_form().unwrap());
    signed.signatures[0].sig = signature.into();
    fs::write(file, serde_json::to_vec(&signed).unwrap()).unwrap();
}

/// All holders take part.
pub(crate) fn everybody() -> SamePassphrase {
    SamePassphrase::new(PASSPHRASE)
}

/// All but these take part.
pub(crate) struct Without(pub(crate) &'static [KeyName]);

impl Passphrases for Without {
    fn choose(&self, key: KeyName) -> Result<Passphrase, Error> {
        everybody().choose(key)
    }

    fn ask(&self, key: KeyName) -> Result<Option<Passphrase>, Error> {
        if self.0.contains(&key) {
            return Ok(None);
        }
        everybody().ask(key)
    }
}
