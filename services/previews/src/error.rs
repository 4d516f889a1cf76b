use std::time::Duration;

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no address of a web page.
    #[error("the URL cannot be previewed: {0}")]
    InvalidUrl(&'static str),
    /// The page cannot be had. Why not is nobody's business but the log's.
    #[error("the page cannot be had")]
    Unavailable,
    /// The user, or all of them together, ask too often.
    #[error("too many previews are asked for")]
    TooMany(Duration),
    /// The box is not set up for it.
    #[error("TLS: {0}")]
    Tls(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] luxchat_store::Error),
}

/// What previewing returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
