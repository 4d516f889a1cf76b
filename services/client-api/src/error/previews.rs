use http::StatusCode;
use luxchat_http::ApiError;
use luxchat_previews::Error as PreviewsError;
use ruma::api::error::ErrorKind;

use super::Error;

impl From<PreviewsError> for Error {
    fn from(error: PreviewsError) -> Self {
        use PreviewsError as E;
        let message = error.to_string();
        match error {
            E::InvalidUrl(_) => ApiError::invalid_param(message),
            E::Unavailable => ApiError::new(StatusCode::BAD_GATEWAY, ErrorKind::Unknown, message),
            E::TooMany(wait) => ApiError::limit_exceeded(wait),
            E::Tls(_) => ApiError::internal(message),
            E::Store(error) => return error.into(),
        }
        .into()
    }
}
