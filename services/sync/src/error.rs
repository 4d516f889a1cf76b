use luxchat_store as store;

/// Why a read was refused or failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),

    /// A pagination token that this server never gave out.
    #[error("unknown token {0:?}")]
    UnknownToken(String),

    /// A sliding sync goes on from a response that is not remembered: the client starts over.
    #[error("unknown position: start over")]
    UnknownPos,

    /// A client subscribes to a thread because of an event that is not in it.
    #[error("the event is not in the thread")]
    NotInThread,

    /// A client subscribes to a thread because of an event after which the user unsubscribed.
    #[error("the user unsubscribed after that event")]
    Unsubscribed,

    /// A request that makes no sense.
    #[error("{0}")]
    Invalid(&'static str),

    /// There is no such thing, or the user may not know that there is.
    #[error("{0} not found")]
    NotFound(&'static str),

    /// The user may not see or do this.
    #[error("{0}")]
    Forbidden(&'static str),
}

/// The result of a read.
pub type Result<T, E = Error> = std::result::Result<T, E>;
