//! What keeps a command from being done.

use std::path::PathBuf;

use luxchat_bundle::{ReleaseVersion, Serial, ServerName, UpdateError};

use crate::KeyName;

/// Why a command was not done. The text is read by the officer at the keyboard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A document, key or certificate is not usable, or a file could not be read or written.
    #[error(transparent)]
    Bundle(#[from] luxchat_bundle::Error),
    /// A repository does not verify.
    #[error(transparent)]
    Repository(#[from] UpdateError),
    /// An authority is only made where there is nothing.
    #[error("{} is not empty: an authority is only made in a new folder", .0.display())]
    NotEmpty(PathBuf),
    /// There is no authority.
    #[error("{} holds no authority: `authority init` makes one", .0.display())]
    NoAuthority(PathBuf),
    /// Another command is at work.
    #[error("another command is at work on {}", .0.display())]
    Busy(PathBuf),
    /// The settings do not parse, or are out of range.
    #[error("the settings are not usable: {0}")]
    Settings(String),
    /// More signatures asked for than there are keys.
    #[error("{threshold} signatures cannot be had from {keys} {role} keys")]
    Threshold {
        role: &'static str,
        threshold: u8,
        keys: u8,
    },
    /// A passphrase that is too easily guessed.
    #[error("the passphrase for {0} is too short: use at least {min} characters", min = crate::MIN_PASSPHRASE)]
    WeakPassphrase(KeyName),
    /// The holder of a key that is needed did not give the passphrase.
    #[error("the passphrase for {0} is needed")]
    NoPassphrase(KeyName),
    /// The passphrase could not be asked for.
    #[error("cannot ask for a passphrase: {0}")]
    Prompt(String),
    /// A passphrase does not open its key.
    #[error("wrong passphrase for {0}, or its file is damaged")]
    WrongPassphrase(KeyName),
    /// No folder holds the file of a key.
    #[error("the file {0}.pem is nowhere to be found: name its folder with --key-folder")]
    NoKeyFile(KeyName),
    /// A key file holds another key than it should.
    #[error("the file of {0} holds another key than the one that the authority knows by that name")]
    OtherKey(KeyName),
    /// Not a name of a key.
    #[error(
        "{0:?} is no key: keys are called certificate-authority, root-1, targets-1, publishing-1 and so on"
    )]
    KeyName(String),
    /// A key that is not in use.
    #[error("{0} is not in use")]
    UnusedKey(KeyName),
    /// A key that cannot be replaced while the boxes rely on it.
    #[error("{0} cannot be rotated: every certificate hangs on it")]
    NotRotatable(KeyName),
    /// Not enough key holders took part.
    #[error(
        "too few signatures for the {role} metadata: {have} of {need} needed. Absent: {absent}"
    )]
    TooFewSigners {
        role: &'static str,
        have: usize,
        need: u64,
        absent: String,
    },
    /// The root of trust has expired.
    #[error("the root of trust expired at {0}: `authority renew-root` signs it anew")]
    RootExpired(jiff::Timestamp),
    /// The member exists.
    #[error("{0} is a member already: `renew` gives it a new certificate")]
    AlreadyMember(ServerName),
    /// The member does not exist.
    #[error("{0} is not a member")]
    NotMember(String),
    /// The member is revoked.
    #[error("{0} is revoked: `reinstate` it first if that was an error")]
    Revoked(ServerName),
    /// Nothing to do.
    #[error("{0} is {1} already")]
    Already(ServerName, &'static str),
    /// A renewal that would make a ministry a directory, or the reverse.
    #[error("{0} asks for another role than it has")]
    OtherRole(ServerName),
    /// Two members with one Matrix signing key.
    #[error("the Matrix signing key in the request is already that of {0}")]
    KeyInUse(ServerName),
    /// A server is reachable nowhere.
    #[error("the request names no endpoint, so {0} could not be reached")]
    NoEndpoint(ServerName),
    /// What the officer was told on the telephone is not what the file says.
    #[error(
        "the fingerprint of the request is\n    {found}\nand not\n    {expected}\nDo not sign it: it is not the request that the box made"
    )]
    OtherRequest { found: String, expected: String },
    /// The folder holds something else.
    #[error("{} holds something else than a repository", .0.display())]
    NotRepository(PathBuf),
    /// The folder holds a repository that this authority's records do not know of.
    #[error("{} holds publication {found}, and this authority's last is {last}: \
        is this an old copy of the authority's folder?", folder.display())]
    NewerThere {
        folder: PathBuf,
        found: u64,
        last: u64,
    },
    /// A voucher that is good for nothing, or for too much.
    #[error("no such voucher is made: {0}")]
    VoucherPlan(String),
    /// Vouchers are answered by the directory.
    #[error("there is no active directory that could answer a voucher: enrol it first")]
    NoDirectory,
    /// No such voucher was made here.
    #[error("there is no voucher {0}")]
    NoVoucher(Serial),
    /// Nothing to do.
    #[error("voucher {0} is revoked already")]
    VoucherRevoked(Serial),
    /// A file whose name is not that of a part of a release.
    #[error("{} is not named like a part of a release: luxchat_VERSION_UUID.root, \
        luxchat_VERSION_UUID.verity or luxchat_VERSION.efi", .0.display())]
    NotReleaseFile(PathBuf),
    /// Files of several releases at once.
    #[error("these are files of more than one release: add them one by one")]
    OneRelease,
    /// The version is there.
    #[error("release {0} is there already, and a version never changes")]
    ReleaseExists(ReleaseVersion),
    /// No box would take it.
    #[error("release {version} is older than {newest}: no box would install it")]
    OlderRelease {
        version: ReleaseVersion,
        newest: ReleaseVersion,
    },
    /// Too many.
    #[error("there are {0} releases already: `release remove` the oldest first")]
    TooManyReleases(usize),
    /// The version is not there.
    #[error("there is no release {0}")]
    NoRelease(ReleaseVersion),
    /// Metadata could not be written as TUF wants it.
    #[error("the repository cannot be written: {0}")]
    Metadata(String),
}
