use std::time::Duration;

use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomVersionId};

/// What can go wrong with rooms.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The room's rules, or this server's, forbid it.
    #[error("{0}")]
    Forbidden(String),

    /// There is no such room, event, alias or state: what is missing.
    #[error("{0} not found")]
    NotFound(&'static str),

    /// This server does not know the room version.
    #[error("room version {0} is not supported")]
    UnsupportedVersion(RoomVersionId),

    /// The other server does not know the version of the room.
    #[error("the room has version {0}, which the asking server does not support")]
    IncompatibleVersion(RoomVersionId),

    /// This server does not know the rooms whose members may join, so it cannot tell whether a user may.
    #[error("this server cannot tell whether the user may join")]
    UnableToAuthoriseJoin,

    /// The user may join, but no user of this server has the power to let them in.
    #[error("no user of this server can let the user in")]
    UnableToGrantJoin,

    /// The event, or one of its fields, exceeds the limits of the specification.
    #[error("{0}")]
    TooLarge(String),

    /// Only a room that the user has left can be forgotten.
    #[error("the user has not left the room")]
    NotLeft,

    /// An event cannot wait for as long as that, but for this.
    #[error("an event can be delayed by {} ms at most", .0.as_millis())]
    DelayTooLong(Duration),

    /// So many events of the user wait already.
    #[error("{0} events of yours are waiting already")]
    TooManyDelayed(usize),

    /// The room's policy server has to sign the event first.
    #[error("the room's policy server has to sign this first")]
    Unsigned(Box<crate::Unsigned>),

    /// The user wants no invites, or none of this sender.
    #[error("the user wants no invites")]
    InviteBlocked,

    /// A request that makes no sense: which parameter and why.
    #[error("{0}")]
    InvalidParam(String),

    /// JSON that the specification does not allow.
    #[error("{0}")]
    BadJson(String),

    /// The state that a request asks for is one that no room can have.
    #[error("{0}")]
    BadState(String),

    /// The alias points to a room already.
    #[error("{0} is in use")]
    AliasInUse(OwnedRoomAliasId),

    /// An alias that a room claims does not lead to it.
    #[error("{0}")]
    BadAlias(String),

    /// No user of this server is in the room, and no other server is known that could help.
    #[error("this server is not in room {0}")]
    RoomNotResident(OwnedRoomId),

    /// The room's members are still being fetched.
    #[error("the room's members are still being fetched, try again later")]
    Incomplete,

    /// Another server refused or did not answer.
    #[error(transparent)]
    Remote(#[from] luxchat_federation::Error),

    /// What another server sent cannot be used.
    #[error(transparent)]
    Pdu(#[from] crate::PduError),

    /// This program contradicts itself.
    #[error("internal: {0}")]
    Internal(String),

    /// The store failed.
    #[error(transparent)]
    Store(#[from] luxchat_store::Error),
}

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
