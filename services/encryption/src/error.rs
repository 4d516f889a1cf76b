use ruma::{OwnedOneTimeKeyId, OwnedServerName, OwnedUserId};

/// What can go wrong with keys, backups and to-device messages.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// An object in the request lacks a field, or has one of the wrong type.
    #[error("{0}")]
    Malformed(String),

    /// Something in the request is not as it must be.
    #[error("{0}")]
    Invalid(String),

    /// A one-time key is there under this name with other content.
    #[error("one-time key {0} already exists with other content")]
    OneTimeKeyExists(OwnedOneTimeKeyId),

    /// A cross-signing key needs a master key to be signed by.
    #[error("there is no master key that the keys could be signed by")]
    NoMasterKey,

    /// A signature is missing or wrong.
    #[error("{0}")]
    InvalidSignature(String),

    /// A cross-signing key has the name of one of the user's devices.
    #[error("the key id is in use by a device")]
    KeyIdInUse,

    /// Replacing cross-signing keys takes user-interactive authentication.
    #[error("replacing cross-signing keys requires authentication")]
    AuthenticationRequired,

    /// There is nothing of that name.
    #[error("{0} not found")]
    NotFound(&'static str),

    /// Keys go into the newest version of the backup only.
    #[error("the current version of the backup is {current}")]
    WrongBackupVersion {
        /// The newest version.
        current: String,
    },

    /// More than the server keeps or answers.
    #[error("{0}")]
    TooLarge(String),

    /// A server speaks of a user that is not its own.
    #[error("{user} is no user of {server}")]
    ForeignUser {
        /// Who was spoken of.
        user: OwnedUserId,
        /// Who spoke.
        server: OwnedServerName,
    },

    /// The store failed.
    #[error(transparent)]
    Store(#[from] luxchat_store::Error),
}

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
