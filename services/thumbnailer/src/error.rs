use std::time::Duration;

/// Why there is no thumbnail of an image. It is the image's fault, and the same the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The bytes are not an image of a kind that is decoded here.
    #[error("not an image of a kind that thumbnails are made of")]
    Unsupported,

    /// The bytes begin like an image, and are none.
    #[error("the image is damaged")]
    Damaged,

    /// More pixels or bytes than are decoded here.
    #[error("the image is too large to make a thumbnail of")]
    TooLarge,
}

/// What can go wrong when thumbnails are wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is none of this image.
    #[error(transparent)]
    Image(#[from] Failure),

    /// The worker took too long and was ended.
    #[error("making a thumbnail took longer than {0:?}")]
    TooSlow(Duration),

    /// The worker ended without an answer, or with one that makes no sense.
    #[error("the worker broke down over the image: {0}")]
    Died(String),

    /// As many images are waiting as may wait, or this one has waited for too long.
    #[error("too many images are waiting for their thumbnails")]
    Busy,

    /// No worker can be started on this machine.
    #[error("no worker can be started: {0}")]
    Unavailable(String),

    /// The image's own bytes cannot be read.
    #[error("the image cannot be read: {0}")]
    Unreadable(String),
}

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
