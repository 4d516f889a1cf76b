use http::StatusCode;
use luxchat_http::ApiError;
use luxchat_sync::Error as SyncError;
use ruma::api::error::ErrorKind;

use super::Error;

impl From<SyncError> for Error {
    fn from(error: SyncError) -> Self {
        let message = error.to_string();
        match error {
            SyncError::Store(error) => error.into(),
            SyncError::UnknownToken(_) | SyncError::Invalid(_) => {
                ApiError::invalid_param(message).into()
            }
            SyncError::UnknownPos => {
                ApiError::new(StatusCode::BAD_REQUEST, ErrorKind::UnknownPos, message).into()
            }
            SyncError::NotInThread => {
                let code = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD";
                ApiError::custom(StatusCode::BAD_REQUEST, code, &message).into()
            }
            SyncError::Unsubscribed => {
                let code = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION";
                ApiError::custom(StatusCode::CONFLICT, code, &message).into()
            }
            SyncError::NotFound(_) => ApiError::not_found(message).into(),
            SyncError::Forbidden(_) => ApiError::forbidden(message).into(),
        }
    }
}
