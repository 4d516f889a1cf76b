//! The signed files of the repository, as TUF wants them.

use std::{collections::HashMap, num::NonZeroU64};

use jiff::{SignedDuration, Timestamp};
use luxchat_bundle::{PublicKey, RepositoryFile, SigningKey};
use ring::digest::{SHA256, digest};
use tough::schema::{
    Hashes, Metafile, Role, RoleKeys, RoleType, Root, Signature, Signed,
    decoded::{Decoded, Hex},
    key::{Ed25519Key, Ed25519Scheme, Key},
};

use crate::Error;

/// The version of the TUF specification that the files follow.
pub(crate) const SPEC_VERSION: &str = "1.0.0";

/// Signs `role` and writes its file. Each key must be one of the role's, or of the role's before.
pub(crate) fn sign<T: Role>(role: T, keys: &[&SigningKey]) -> Result<Vec<u8>, Error> {
    let message = role.canonical_form().map_err(fault)?;
    let signatures = keys
        .iter()
        .map(|key| {
            Ok(Signature {
                keyid: key_id(key.public_key())?,
                sig: key.sign(&message).into(),
            })
        })
        .collect::<Result<_, Error>>()?;
    let signed = Signed {
        signed: role,
        signatures,
    };
    let mut bytes = serde_json::to_vec_pretty(&signed).map_err(fault)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A public key as TUF writes it.
pub(crate) fn tuf_key(key: PublicKey) -> Key {
    Key::Ed25519 {
        keyval: Ed25519Key {
            public: key.as_bytes().to_vec().into(),
            _extra: HashMap::new(),
        },
        scheme: Ed25519Scheme::Ed25519,
        _extra: HashMap::new(),
    }
}

/// The id of a key, as TUF derives it.
pub(crate) fn key_id(key: PublicKey) -> Result<Decoded<Hex>, Error> {
    tuf_key(key).key_id().map_err(fault)
}

/// The keys of a role and how many must sign.
pub(crate) fn role_keys(keys: &[PublicKey], threshold: u64) -> Result<RoleKeys, Error> {
    Ok(RoleKeys {
        keyids: keys
            .iter()
            .map(|key| key_id(*key))
            .collect::<Result<_, _>>()?,
        threshold: version(threshold)?,
        _extra: HashMap::new(),
    })
}

/// Reads a root that this authority wrote.
pub(crate) fn parse_root(bytes: &[u8]) -> Result<Root, Error> {
    let signed: Signed<Root> = serde_json::from_slice(bytes).map_err(fault)?;
    Ok(signed.signed)
}

/// How many of `role`'s keys must sign.
pub(crate) fn threshold(root: &Root, role: RoleType) -> u64 {
    root.roles.get(&role).map_or(1, |keys| keys.threshold.get())
}

/// Whether `key` is one of `role`'s.
pub(crate) fn holds(root: &Root, role: RoleType, key: PublicKey) -> bool {
    root.keys(role).any(|it| *it == tuf_key(key))
}

/// What another file says of this one.
pub(crate) fn metafile(bytes: &[u8], file_version: NonZeroU64) -> Metafile {
    Metafile {
        length: Some(bytes.len() as u64),
        hashes: Some(hashes(bytes)),
        version: file_version,
        _extra: HashMap::new(),
    }
}

/// The digests of a file.
pub(crate) fn hashes(bytes: &[u8]) -> Hashes {
    Hashes {
        sha256: digest(&SHA256, bytes).as_ref().to_vec().into(),
        _extra: HashMap::new(),
    }
}

/// A version number, which is never 0.
pub(crate) fn version(number: u64) -> Result<NonZeroU64, Error> {
    NonZeroU64::new(number).ok_or_else(|| Error::Metadata("a number is 0".to_owned()))
}

/// The moment `days` after `now`, in whole seconds as TUF writes them.
pub(crate) fn expiry(now: Timestamp, days: u32) -> Result<Timestamp, Error> {
    now.checked_add(SignedDuration::from_hours(i64::from(days) * 24))
        .and_then(|at| Timestamp::from_second(at.as_second()))
        .map_err(fault)
}

/// A file under `metadata`.
pub(crate) fn metadata_file(name: &str, bytes: Vec<u8>) -> RepositoryFile {
    RepositoryFile {
        path: format!("metadata/{name}"),
        bytes,
    }
}

pub(crate) fn fault(error: impl std::fmt::Display) -> Error {
    Error::Metadata(error.to_string())
}
