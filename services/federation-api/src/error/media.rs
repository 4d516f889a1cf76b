use http::StatusCode;
use luxchat_http::ApiError;
use luxchat_media::Error as MediaError;
use ruma::api::error::ErrorKind;

use super::Error;

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
            MediaError::Store(error) => return error.into(),
            MediaError::Remote(error) => return error.into(),
            // A peer asks for what lies here: the others cannot happen to it.
            other => ApiError::internal(other),
        }
        .into()
    }
}
