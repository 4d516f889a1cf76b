//! What can be wrong with a document, a key or a certificate.

use std::{io, path::PathBuf};

use crate::ServerName;

/// A document, key or certificate that cannot be used. The text is meant to be read by the
/// technician who holds the stick.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server name that the nation does not use.
    #[error("{name:?} is not a usable Matrix server name: {why}")]
    ServerName { name: String, why: &'static str },
    /// Not `host:port`.
    #[error("{0:?} is not an endpoint: write host:port, for example matrix.interior.lu:8448")]
    Endpoint(String),
    /// Not a SHA-256 fingerprint in hexadecimal.
    #[error("{0:?} is not a SHA-256 fingerprint (64 hexadecimal digits)")]
    Fingerprint(String),
    /// Not a certificate serial number in hexadecimal.
    #[error("{0:?} is not a certificate serial number (up to 40 hexadecimal digits)")]
    Serial(String),
    /// Not hours of a day.
    #[error("{0:?} is not a window: write hours in UTC as 02:00-05:00, or always, or never")]
    Window(String),
    /// A release that cannot be one.
    #[error("{0}")]
    Release(String),
    /// Not a Matrix signing key id.
    #[error("{0:?} is not a Matrix signing key id: write ed25519:version")]
    SigningKeyId(String),
    /// Not an Ed25519 public key.
    #[error("{0:?} is not an Ed25519 public key in unpadded base64")]
    PublicKey(String),
    /// A document of another format than this program knows.
    #[error("the {document} has format {found}, this program reads format {known}")]
    Format {
        document: &'static str,
        found: u32,
        known: u32,
    },
    /// A document that does not parse, or has unknown or missing fields.
    #[error("the {document} cannot be read: {why}")]
    Malformed { document: &'static str, why: String },
    /// A document or a list in it that is larger than it may be.
    #[error("{what} is too large: at most {limit} are allowed")]
    TooLarge { what: String, limit: usize },
    /// Text that could mislead whoever reads it on a terminal.
    #[error("the {0} must be one line without control characters")]
    Text(String),
    /// Two members with one name.
    #[error("{0} is listed twice")]
    Duplicate(ServerName),
    /// A certificate, request or key that does not parse or does not serve its purpose.
    #[error("the {what} is not usable: {why}")]
    Certificate { what: &'static str, why: String },
    /// A signature that does not match what it is said to sign.
    #[error("the signature by {by} does not match: the {document} was changed after it was made")]
    Signature { document: &'static str, by: String },
    /// A document that is for somebody else.
    #[error("the {document} is for {found}, not for {expected}")]
    OtherServer {
        document: &'static str,
        found: ServerName,
        expected: ServerName,
    },
    /// A certificate for another key than the box holds.
    #[error("the certificate in the enrolment is for another key than the one this box made")]
    OtherKey,
    /// An order of the authority that this box does not follow.
    #[error("the order is refused: {why}")]
    Order { why: String },
    /// Something is already where a new file should go.
    #[error("{} exists already and is not overwritten", .0.display())]
    Exists(PathBuf),
    /// The random number generator or the signing primitive failed.
    #[error("the cryptographic library failed to {0}")]
    Crypto(&'static str),
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}
