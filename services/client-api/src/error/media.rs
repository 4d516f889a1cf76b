use std::time::Duration;

use http::StatusCode;
use luxchat_http::ApiError;
use luxchat_media::{
    Error as MediaError,
    thumbnailer::{Error as ThumbnailerError, Failure},
};
use luxchat_store::Error as StoreError;
use ruma::api::error::ErrorKind;

use super::Error;

/// When to ask again for a thumbnail for which too many wait.
const BUSY_TIME: Duration = Duration::from_secs(2);

impl From<MediaError> for Error {
    fn from(error: MediaError) -> Self {
        use MediaError as E;
        let message = error.to_string();
        let new = |status, kind| ApiError::new(status, kind, message.clone());
        match error {
            E::NotFound | E::Quarantined => ApiError::not_found(message),
            E::TooLarge(_) => ApiError::too_large(message),
            E::RemoteTooLarge(_) => new(StatusCode::BAD_GATEWAY, ErrorKind::TooLarge),
            E::QuotaExceeded(_) => {
                ApiError::custom(StatusCode::FORBIDDEN, "M_USER_LIMIT_EXCEEDED", &message)
            }
            E::NotAllowed | E::NotYours => ApiError::forbidden(message),
            E::AlreadyUploaded => new(StatusCode::CONFLICT, ErrorKind::CannotOverwriteMedia),
            E::TooManyPending(time) => ApiError::limit_exceeded(time),
            E::NotScanned => new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Unknown),
            E::InvalidTarget(_) => ApiError::invalid_param(message),
            E::SiteQuotaExceeded => {
                ApiError::custom(StatusCode::FORBIDDEN, "M_RESOURCE_LIMIT_EXCEEDED", &message)
            }
            E::DiskFull => return StoreError::DiskFull.into(),
            E::BrokenOff(_) => ApiError::bad_request("The request body broke off"),
            E::TooSlow => new(StatusCode::REQUEST_TIMEOUT, ErrorKind::Unknown),
            E::NotYet => new(StatusCode::GATEWAY_TIMEOUT, ErrorKind::NotYetUploaded),
            E::NoThumbnail => ApiError::bad_request(message),
            E::Thumbnailer(error) => no_thumbnail(error, message),
            E::InvalidAnswer { .. } => new(StatusCode::BAD_GATEWAY, ErrorKind::Unknown),
            E::File { .. } => ApiError::internal(message),
            E::Remote(error) => return error.into(),
            E::Store(error) => return error.into(),
        }
        .into()
    }
}

/// The image's fault, but for the last two.
fn no_thumbnail(error: ThumbnailerError, message: String) -> ApiError {
    match error {
        ThumbnailerError::Image(Failure::TooLarge) => ApiError::too_large(message),
        ThumbnailerError::Image(_) | ThumbnailerError::Died(_) | ThumbnailerError::TooSlow(_) => {
            ApiError::new(StatusCode::BAD_REQUEST, ErrorKind::Unknown, message)
        }
        ThumbnailerError::Busy => ApiError::limit_exceeded(BUSY_TIME),
        other => ApiError::internal(other),
    }
}
