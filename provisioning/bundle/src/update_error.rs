//! Why a repository was not taken over.

use std::error::Error as StdError;

use jiff::Timestamp;
use tough::{
    TransportError, TransportErrorKind, error::Error as ToughError, schema::Error as SchemaError,
};

use crate::Error;

/// Why a repository was not taken over. The last good one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// It is older than the one at hand.
    #[error("rollback refused: {0}")]
    Rollback(String),
    /// Some part of it has expired.
    #[error("the {role} metadata expired at {at}")]
    Expired { role: &'static str, at: Timestamp },
    /// Enough signatures stand under it, but not enough of them are right.
    #[error("wrong signature under the {role} metadata: {valid} of {threshold} needed are right")]
    BadSignature {
        role: String,
        valid: u64,
        threshold: u64,
    },
    /// Fewer signatures stand under it than are needed.
    #[error("too few signatures under the {role} metadata: {found} of {threshold} needed")]
    TooFewSignatures {
        role: String,
        found: u64,
        threshold: u64,
    },
    /// A file is not what the signed metadata says it is.
    #[error("{0} was changed after it was signed")]
    Tampered(String),
    /// A file that the metadata names is not there.
    #[error("{0} is missing from the repository")]
    Missing(String),
    /// A file is larger than it may be.
    #[error("a file of the repository is too large: {0}")]
    TooLarge(String),
    /// A file does not parse, or uses what this program does not support.
    #[error("the repository cannot be read: {0}")]
    Malformed(String),
    /// The signed member list is not usable.
    #[error("the repository is signed, but its member list is not usable: {0}")]
    Members(#[source] Error),
    /// The signed list of releases is not usable.
    #[error("the repository is signed, but its releases are not usable: {0}")]
    Releases(#[source] Error),
    /// The source did not deliver.
    #[error("the repository cannot be fetched: {0}")]
    Fetch(String),
    /// The box's own copy could not be read or written.
    #[error("the trust store failed: {0}")]
    Store(#[source] Error),
}

impl UpdateError {
    /// Sorts out what tough reports. `signatures` tells how many signatures stand under the
    /// metadata file of a role, as it was just fetched.
    pub(crate) fn from_tough(error: ToughError, signatures: impl Fn(&str) -> u64) -> Self {
        if let Some(cause) = transport_cause(&error) {
            return cause;
        }
        match error {
            ToughError::OlderMetadata { .. }
            | ToughError::OlderSnapshotInTimestamp { .. }
            | ToughError::SnapshotRoleMissing { .. }
            | ToughError::SnapshotRoleRollback { .. } => Self::Rollback(error.to_string()),
            ToughError::VerifyMetadata { source, .. }
            | ToughError::VerifyTrustedMetadata { source, .. } => {
                Self::from_schema(source, signatures)
            }
            ToughError::VersionMismatch { role, .. } => {
                Self::Tampered(format!("the {role} metadata"))
            }
            ToughError::DatastoreInit { .. }
            | ToughError::DatastoreCreate { .. }
            | ToughError::DatastoreOpen { .. }
            | ToughError::DatastoreRemove { .. } => Self::Store(Error::Malformed {
                document: "scratch folder",
                why: error.to_string(),
            }),
            other => Self::Malformed(other.to_string()),
        }
    }

    fn from_schema(error: SchemaError, signatures: impl Fn(&str) -> u64) -> Self {
        let SchemaError::SignatureThreshold {
            role,
            threshold,
            valid,
            ..
        } = error
        else {
            return Self::Malformed(error.to_string());
        };
        let role = role.to_string();
        let found = signatures(&role);
        if found < threshold {
            Self::TooFewSignatures {
                role,
                found,
                threshold,
            }
        } else {
            Self::BadSignature {
                role,
                valid,
                threshold,
            }
        }
    }
}

/// What went wrong on the way, if that is what went wrong: a digest or a length that does not
/// match shows only when a file has come through.
fn transport_cause(error: &ToughError) -> Option<UpdateError> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    let mut transport: Option<&TransportError> = None;
    while let Some(current) = cause {
        match current.downcast_ref::<ToughError>() {
            Some(ToughError::HashMismatch { context, .. }) => {
                return Some(UpdateError::Tampered(file_of(context).to_owned()));
            }
            Some(ToughError::MaxSizeExceeded { .. }) => {
                return Some(UpdateError::TooLarge(current.to_string()));
            }
            _ => {}
        }
        if let Some(found) = current.downcast_ref::<TransportError>() {
            transport = Some(found);
        }
        cause = current.source();
    }
    let transport = transport?;
    let file = file_of(transport.url()).to_owned();
    Some(match transport.kind() {
        TransportErrorKind::FileNotFound => UpdateError::Missing(file),
        _ => UpdateError::Fetch(match transport.source() {
            Some(source) => format!("{file}: {source}"),
            None => file,
        }),
    })
}

/// The path inside the repository.
fn file_of(url: &str) -> &str {
    url.strip_prefix(crate::transport::BASE).unwrap_or(url)
}
