/// What can go wrong with push.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The client asks for what cannot be.
    #[error("{0}")]
    Invalid(String),

    /// The site file does not name the gateway.
    #[error("the push gateway {0} is not among those that this server may speak to")]
    GatewayNotAllowed(String),

    /// A user has as many pushers as they may.
    #[error("a user may have {0} pushers at most")]
    TooManyPushers(usize),

    /// The site file asks for something that cannot be.
    #[error("{0}")]
    Config(String),

    /// The store failed.
    #[error(transparent)]
    Store(#[from] luxchat_store::Error),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
