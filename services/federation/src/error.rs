use std::sync::Arc;

use http::StatusCode;
use ruma::{OwnedServerName, api::error::ErrorKind};

/// What can go wrong between this server and another.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The other server may not federate, or this server may not with it.
    #[error("{server} may not federate: {reason}")]
    Denied {
        /// The other server.
        server: OwnedServerName,
        /// Why.
        reason: crate::Denial,
    },

    /// No address of the server is known, or the site does not allow looking for one.
    #[error("no address of {0} is known")]
    NoAddress(OwnedServerName),

    /// No connection could be made.
    #[error("{server} cannot be reached: {why}")]
    Unreachable {
        /// The other server.
        server: OwnedServerName,
        /// What the last attempt ended with.
        why: String,
    },

    /// The server did not answer in time.
    #[error("{0} did not answer in time")]
    Timeout(OwnedServerName),

    /// The answer exceeds the limit.
    #[error("the answer of {server} exceeds {limit} bytes")]
    TooLarge {
        /// The other server.
        server: OwnedServerName,
        /// The limit, in bytes.
        limit: usize,
    },

    /// The server answered with an error.
    #[error("{server} refused: {error}")]
    Refused {
        /// The other server.
        server: OwnedServerName,
        /// Its answer.
        error: Arc<ruma::api::error::Error>,
    },

    /// The answer is not what the endpoint promises.
    #[error("the answer of {server} is invalid: {why}")]
    InvalidResponse {
        /// The other server.
        server: OwnedServerName,
        /// The parser's message.
        why: String,
    },

    /// The request could not be built or signed.
    #[error("the request cannot be built: {0}")]
    InvalidRequest(String),

    /// The keys of a server cannot be had at the moment.
    #[error("the keys of {server} cannot be had at the moment: {why}")]
    NoKeys {
        /// The other server.
        server: OwnedServerName,
        /// What the last attempt ended with.
        why: String,
    },

    /// A signature that should be there is missing, invalid, or by a key that is not to be had.
    #[error("signature: {0}")]
    Signature(String),

    /// A key, a certificate or a setting of this server is unusable.
    #[error("{0}")]
    Config(String),

    /// The store failed.
    #[error(transparent)]
    Store(#[from] luxchat_store::Error),
}

impl Error {
    /// The Matrix error that the other server answered with.
    pub fn remote_kind(&self) -> Option<&ErrorKind> {
        match self {
            Self::Refused { error, .. } => error.error_kind(),
            _ => None,
        }
    }

    /// Whether the same request may well succeed later: the server is down, or has too much to do.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout(_) | Self::NoKeys { .. } => true,
            Self::Refused { error, .. } => {
                error.status_code.is_server_error()
                    || error.status_code == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }

    /// The HTTP status that the other server answered with.
    pub fn remote_status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { error, .. } => Some(error.status_code),
            _ => None,
        }
    }
}

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
