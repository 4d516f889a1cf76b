use std::{io, path::Path, sync::Arc, time::Duration};

use ruma::OwnedServerName;

/// What can go wrong with media.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such medium.
    #[error("no such media")]
    NotFound,

    /// A medium exceeds the limit.
    #[error("the media is larger than {0} bytes")]
    TooLarge(u64),

    /// Another server's medium exceeds the limit.
    #[error("the media is larger than the {0} bytes that this server takes from others")]
    RemoteTooLarge(u64),

    /// The user has uploaded as much as they may.
    #[error("the user may upload {0} bytes in all")]
    QuotaExceeded(u64),

    /// All users together have uploaded as much as they may.
    #[error("the server takes no more uploads: its quota is used up")]
    SiteQuotaExceeded,

    /// The content is one that the operator does not allow.
    #[error("this content is not allowed here")]
    NotAllowed,

    /// The content is withheld from everybody.
    #[error("the media is in quarantine")]
    Quarantined,

    /// The content has still to be scanned, and the scanner does not answer.
    #[error("the media cannot be scanned for malware now")]
    NotScanned,

    /// Somebody else asked for the id.
    #[error("the media id was given to another user")]
    NotYours,

    /// The id has its content.
    #[error("the media id has its content already")]
    AlreadyUploaded,

    /// The user has as many ids waiting for their content as they may; one of them expires in this time.
    #[error("too many media ids wait for their content")]
    TooManyPending(Duration),

    /// Neither an `mxc:` URI nor a SHA-256.
    #[error("{0:?} is neither an mxc: URI nor the SHA-256 of a file")]
    InvalidTarget(String),

    /// The disk is as full as the site lets it get.
    #[error("the disk is nearly full: no media is taken until the operator makes room")]
    DiskFull,

    /// The bytes of an upload stopped coming.
    #[error("the upload broke off: {0}")]
    BrokenOff(String),

    /// The bytes of an upload come too slowly.
    #[error("the upload took too long to arrive")]
    TooSlow,

    /// Another server has not handed the medium out in the time that the client would wait.
    #[error("the media has not arrived yet")]
    NotYet,

    /// Not an image of a kind that can stand for its own thumbnail.
    #[error("there is no thumbnail of this media")]
    NoThumbnail,

    /// No thumbnail can be made of this image, or by this machine.
    #[error(transparent)]
    Thumbnailer(#[from] luxchat_thumbnailer::Error),

    /// Another server refused, or cannot be reached.
    #[error(transparent)]
    Remote(#[from] luxchat_federation::Error),

    /// Another server's answer is not what the endpoint promises.
    #[error("the answer of {server} is invalid: {why}")]
    InvalidAnswer {
        /// The other server.
        server: OwnedServerName,
        /// What is wrong.
        why: String,
    },

    /// The media folder cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        why: Arc<io::Error>,
    },

    /// The store failed.
    #[error(transparent)]
    Store(#[from] luxchat_store::Error),
}

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn file(path: &Path, why: io::Error) -> Self {
        if why.kind() == io::ErrorKind::StorageFull || why.kind() == io::ErrorKind::QuotaExceeded {
            return Self::DiskFull;
        }
        Self::File {
            path: path.display().to_string(),
            why: Arc::new(why),
        }
    }
}
