//! Whether a repository is what the authority signed.

use std::path::Path;

use jiff::Timestamp;
use tough::{
    ExpirationEnforcement, IntoVec, Limits, Repository, RepositoryLoader, TargetName,
    schema::{RoleType, Root, Signed, key::Key},
};
use url::Url;

use crate::{
    Bundle, Error, MEMBERS_FILE, Members, PublicKey, Release, UpdateError,
    transport::{BASE, MAX_METADATA_BYTES, Recorder},
};

/// How many roots may follow one another.
pub(crate) const MAX_ROOTS: u64 = 1024;

/// Verifies the repository behind `recorder`, starting from `root`, and reads its member list.
/// `scratch` holds what was verified last, if anything was; the repository must not fall behind.
///
/// Expiry is checked here and not by tough, which reads the system's clock: once all the rest is
/// verified, and before anything is kept, every date in it is compared with `now`.
pub(crate) async fn verify(
    root: &[u8],
    recorder: &Recorder,
    scratch: &Path,
    now: Timestamp,
) -> Result<(Bundle, Vec<Release>), UpdateError> {
    let from_tough = |error| UpdateError::from_tough(error, |role| recorder.signatures(role));
    let repository = RepositoryLoader::new(&root, base("metadata/")?, base("targets/")?)
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
        .map_err(from_tough)?;
    check_shape(&repository)?;
    let name = TargetName::new(MEMBERS_FILE).map_err(from_tough)?;
    let bytes = repository
        .read_target(&name)
        .await
        .map_err(from_tough)?
        .ok_or_else(|| UpdateError::Missing(MEMBERS_FILE.to_owned()))?
        .into_vec()
        .await
        .map_err(from_tough)?;
    let members = Members::from_json(&bytes).map_err(UpdateError::Members)?;
    // A box whose clock has lost the time is at least not before the list was written.
    let expires = check_expiry(&repository, now.max(members.issued_at()))?;
    let releases =
        Release::in_targets(&repository.targets().signed).map_err(UpdateError::Releases)?;
    let bundle = Bundle {
        members,
        version: repository.timestamp().signed.version.get(),
        root_version: repository.root().signed.version.get(),
        expires,
    };
    Ok((bundle, releases))
}

/// The version of a root of trust.
///
/// # Errors
/// It does not parse, or its own keys did not sign it.
pub(crate) fn root_version(bytes: &[u8]) -> Result<u64, Error> {
    Ok(parse_root(bytes)?.signed.version.get())
}

/// Whether `older` is the root of trust from which `newer` follows.
pub(crate) fn precedes(older: &[u8], newer: &[u8]) -> bool {
    let (Ok(older), Ok(newer)) = (parse_root(older), parse_root(newer)) else {
        return false;
    };
    older.signed.version.get() + 1 == newer.signed.version.get()
        && older.signed.verify_role(&newer).is_ok()
}

/// Those who say who is a member, as a root of trust names them, and how many of them must sign.
pub(crate) fn holders(root: &[u8]) -> Result<(Vec<PublicKey>, u64), Error> {
    let root = parse_root(root)?.signed;
    let keys = root.keys(RoleType::Targets);
    let public = |key: &Key| match key {
        Key::Ed25519 { keyval, .. } => <[u8; 32]>::try_from(&*keyval.public)
            .ok()
            .map(PublicKey::from_bytes),
        _ => None,
    };
    let threshold = root.roles.get(&RoleType::Targets);
    let threshold = threshold.map_or(1, |role| role.threshold.get());
    Ok((keys.filter_map(public).collect(), threshold))
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

fn base(path: &str) -> Result<Url, UpdateError> {
    Url::parse(&format!("{BASE}{path}")).map_err(|error| UpdateError::Malformed(error.to_string()))
}

/// Refuses what the authority's tool never writes, and what the copy on disk relies on not to
/// meet.
fn check_shape(repository: &Repository) -> Result<(), UpdateError> {
    if !repository.root().signed.consistent_snapshot {
        return Err(UpdateError::Malformed(
            "its files are not named after their versions".to_owned(),
        ));
    }
    let delegations = repository.targets().signed.delegations.as_ref();
    if delegations.is_some_and(|it| !it.roles.is_empty()) {
        return Err(UpdateError::Malformed("it delegates targets".to_owned()));
    }
    Ok(())
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
