use http::StatusCode;
use luxchat_federation::Error as FederationError;
use luxchat_http::ApiError;
use ruma::api::error::ErrorKind;

use super::Error;

impl From<FederationError> for Error {
    fn from(error: FederationError) -> Self {
        match error {
            FederationError::Store(error) => return error.into(),
            FederationError::Signature(message) => ApiError::forbidden(message),
            FederationError::InvalidRequest(_) | FederationError::Config(_) => {
                ApiError::internal(error)
            }
            // Another server stands in the way of an answer.
            other => ApiError::new(
                StatusCode::BAD_GATEWAY,
                ErrorKind::Unknown,
                other.to_string(),
            ),
        }
        .into()
    }
}
