use std::time::Duration;

use http::StatusCode;
use luxchat_http::ApiError;
use luxchat_media::{
    Error as MediaError,
    thumbnailer::{Error as ThumbnailerError, Failure},
};
use ruma::api::error::ErrorKind;

use super::Error;

/// When to ask again for a thumbnail for which too many wait.
const BUSY_TIME: Duration = Duration::from_secs(2);

impl From<MediaError> for Error {
    fn from(error: MediaError) -> Self {
        let message = error.to_string();
        match error {
            MediaError::NotFound | MediaError::Quarantined => ApiError::not_found(message),
            MediaError::NotYet => ApiError::new(
                StatusCode::GATEWAY_TIMEOUT,
                ErrorKind::NotYetUploaded,
                message,
            ),
            MediaError::NotScanned => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Unknown, message)
            }
            MediaError::TooLarge(_) => ApiError::too_large(message),
            MediaError::NoThumbnail => ApiError::bad_request(message),
            MediaError::Thumbnailer(error) => match error {
                ThumbnailerError::Image(Failure::TooLarge) => ApiError::too_large(message),
                ThumbnailerError::Busy => ApiError::limit_exceeded(BUSY_TIME),
                ThumbnailerError::Unavailable(_) => ApiError::internal(message),
                _ => ApiError::new(StatusCode::BAD_REQUEST, ErrorKind::Unknown, message),
            },
            MediaError::Store(error) => return error.into(),
            MediaError::Remote(error) => return error.into(),
            // A peer asks for what lies here: the others cannot happen to it.
            other => ApiError::internal(other),
        }
        .into()
    }
}
