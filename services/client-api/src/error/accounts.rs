use http::StatusCode;
use luxchat_accounts::Error as AccountsError;
use luxchat_http::ApiError;
use ruma::api::error::ErrorKind;
use serde_json::json;

use super::Error;

impl From<AccountsError> for Error {
    fn from(error: AccountsError) -> Self {
        use AccountsError as E;
        let message = error.to_string();
        let new = |status, kind| ApiError::new(status, kind, message.clone());
        match error {
            E::UnknownToken | E::UnknownRefreshToken => ApiError::unknown_token(false, message),
            E::ExpiredToken => ApiError::unknown_token(true, message),
            // Clients keep their data while the account is locked.
            E::Locked => ApiError::json(
                StatusCode::UNAUTHORIZED,
                json!({ "errcode": "M_USER_LOCKED", "error": message, "soft_logout": true }),
            ),
            E::Deactivated => new(StatusCode::FORBIDDEN, ErrorKind::UserDeactivated),
            E::WrongCredentials | E::RegistrationDisabled | E::SharedSecret(_) => {
                ApiError::forbidden(message)
            }
            E::NoSuchAccount | E::NoSuchDevice | E::NotFound(_) => ApiError::not_found(message),
            E::UserInUse => new(StatusCode::BAD_REQUEST, ErrorKind::UserInUse),
            E::InvalidUsername(_) => new(StatusCode::BAD_REQUEST, ErrorKind::InvalidUsername),
            E::WeakPassword(_) => new(StatusCode::BAD_REQUEST, ErrorKind::WeakPassword),
            E::InvalidRegistrationToken => new(StatusCode::UNAUTHORIZED, ErrorKind::Unauthorized),
            E::TooMany(_) => {
                ApiError::custom(StatusCode::FORBIDDEN, "M_USER_LIMIT_EXCEEDED", &message)
            }
            E::TooLarge(_) => ApiError::too_large(message),
            E::InvalidIdentifier(_) | E::Invalid { .. } => ApiError::invalid_param(message),
            E::Hashing(_) => ApiError::internal(message),
            E::Store(error) => return error.into(),
        }
        .into()
    }
}
