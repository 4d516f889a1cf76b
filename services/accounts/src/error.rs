use std::time::Duration;

use ruma::api::client::uiaa::UiaaInfo;

/// What can go wrong with accounts and sessions.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The access token is not known (any more).
    #[error("unknown access token")]
    UnknownToken,

    /// The access token has expired; the session lives on and can be refreshed or logged in to again.
    #[error("the access token has expired")]
    ExpiredToken,

    /// The refresh token is not known (any more).
    #[error("unknown refresh token")]
    UnknownRefreshToken,

    /// An administrator has locked the account.
    #[error("the account is locked")]
    Locked,

    /// The account exists no more.
    #[error("the account is deactivated")]
    Deactivated,

    /// Wrong user or wrong password: which of them is nobody's business.
    #[error("wrong user name or password")]
    WrongCredentials,

    /// Too many passwords have been tried, or too many are being checked.
    #[error("too many attempts")]
    TryLater(Duration),

    /// No such account on this server.
    #[error("there is no such account")]
    NoSuchAccount,

    /// No such device of this user.
    #[error("there is no such device")]
    NoSuchDevice,

    /// The name is taken, or was.
    #[error("the user name is taken")]
    UserInUse,

    /// The name cannot be that of a user.
    #[error("invalid user name: {0}")]
    InvalidUsername(&'static str),

    /// The password is too short, or too long to hash.
    #[error("weak password: {0}")]
    WeakPassword(String),

    /// This way of making an account is not open.
    #[error("registration is disabled")]
    RegistrationDisabled,

    /// The server sends no e-mails.
    #[error("this server does not send e-mails")]
    EmailDisabled,

    /// The e-mail address belongs to an account already.
    #[error("the e-mail address is in use")]
    EmailInUse,

    /// Nobody has opened the link that was sent, or it was another one's.
    #[error("the e-mail address is not confirmed")]
    EmailNotProven,

    /// The registration token is unknown, used up or expired.
    #[error("the registration token is not valid")]
    InvalidRegistrationToken,

    /// A shared-secret registration with a wrong code or an unknown nonce.
    #[error("{0}")]
    SharedSecret(&'static str),

    /// The client has to prove more before it may do this: what, and how it goes on.
    #[error("user-interactive authentication is needed")]
    Interaction(Box<UiaaInfo>),

    /// The proof is that of another user.
    #[error("the authentication is another user's")]
    NotTheOwner,

    /// The name of a profile field is longer than 255 bytes.
    #[error("the name of the profile field is too long")]
    KeyTooLarge,

    /// The profile would be larger than 64 KiB.
    #[error("the profile would be too large")]
    ProfileTooLarge,

    /// This type of account data has endpoints of its own.
    #[error("this type of account data cannot be set here")]
    ReservedType,

    /// A limit of the account.
    #[error("too many {0}")]
    TooMany(&'static str),

    /// Something is larger than allowed.
    #[error("{0} is too large")]
    TooLarge(&'static str),

    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),

    /// A value does not have the form it should.
    #[error("invalid {what}: {why}")]
    Invalid {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },

    /// A password hash could not be made or read.
    #[error("password hashing: {0}")]
    Hashing(String),

    /// The store failed.
    #[error(transparent)]
    Store(#[from] luxchat_store::Error),
}

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
