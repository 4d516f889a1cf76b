use ruma::OwnedEventId;

/// Why a PDU from another server was not taken in.
///
/// A PDU that breaks the room's rules is no error to the sender: it is stored as rejected or soft-failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PduError {
    /// It is not a PDU of its room's version.
    #[error("invalid PDU: {0}")]
    Format(String),

    /// A signature that it needs is missing or invalid.
    #[error("invalid signature: {0}")]
    Signature(String),

    /// It names a server as its sender's that did not sign it, though it says so.
    #[error("invalid signature: {0} did not sign it")]
    Forged(ruma::OwnedServerName),

    /// Whether its signature holds is not to be known for now.
    #[error("the keys of {0} cannot be had at the moment")]
    NoKeys(ruma::OwnedServerName),

    /// This server is not in the room.
    #[error("this server is not in the room")]
    NotInRoom,

    /// The room's server ACL shuts the origin out.
    #[error("the room's server ACL denies {0}")]
    Denied(ruma::OwnedServerName),

    /// Events that it builds upon cannot be had.
    #[error("event {0}, which it builds upon, cannot be had")]
    MissingAncestor(OwnedEventId),

    /// It would take more work than a PDU may cause.
    #[error("{0} exceeds the limit")]
    Limit(&'static str),

    /// The room kept changing while the PDU was worked in.
    #[error("the room is too busy, try again")]
    Busy,

    /// State resolution failed.
    #[error("state resolution: {0}")]
    Resolution(String),

    /// Another server did not help.
    #[error(transparent)]
    Federation(#[from] luxchat_federation::Error),

    /// The store failed.
    #[error(transparent)]
    Store(#[from] luxchat_store::Error),

    /// This server made a mistake.
    #[error("internal: {0}")]
    Internal(String),
}

impl PduError {
    /// Whether the PDU may well be taken in when it comes again. An origin that is told so sends it again; what it is told
    /// that it was dropped, it forgets.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Store(_) | Self::Busy => true,
            Self::Federation(error) => error.is_passing(),
            _ => false,
        }
    }

    /// Whether the PDU may be taken in once more is known of what it builds upon, or who signed it answers.
    pub(crate) fn may_heal(&self) -> bool {
        matches!(
            self,
            Self::MissingAncestor(_) | Self::Limit(_) | Self::NoKeys(_)
        )
    }

    pub(crate) fn task(error: tokio::task::JoinError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<crate::Error> for PduError {
    fn from(error: crate::Error) -> Self {
        match error {
            crate::Error::Pdu(error) => error,
            crate::Error::Remote(error) => Self::Federation(error),
            crate::Error::Store(error) => Self::Store(error),
            other => Self::Internal(other.to_string()),
        }
    }
}
