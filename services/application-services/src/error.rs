use http::StatusCode;

/// Why something with an application service failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It did not answer in time.
    #[error("the application service did not answer in time")]
    TimedOut,
    /// No connection, or one that broke.
    #[error("the application service cannot be reached: {0}")]
    Unreachable(String),
    /// It answered, but not with success.
    #[error("the application service answered {0}")]
    Refused(StatusCode),
    /// The system's certificate authorities are not usable.
    #[error("no connection over TLS can be made: {0}")]
    Tls(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] luxchat_store::Error),
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
