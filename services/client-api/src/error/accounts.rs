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
        let bad_request = |kind| ApiError::new(StatusCode::BAD_REQUEST, kind, message.clone());
        match error {
            E::UnknownToken | E::UnknownRefreshToken => ApiError::unknown_token(false, message),
            E::ExpiredToken => ApiError::unknown_token(true, message),
            // Clients keep their data while the account is locked.
            E::Locked => ApiError::json(
                StatusCode::UNAUTHORIZED,
                json!({ "errcode": "M_USER_LOCKED", "error": message, "soft_logout": true }),
            ),
            E::Deactivated => {
                ApiError::new(StatusCode::FORBIDDEN, ErrorKind::UserDeactivated, message)
            }
            E::WrongCredentials | E::NotTheOwner | E::RegistrationDisabled => {
                ApiError::forbidden(message)
            }
            E::TryLater(after) => ApiError::limit_exceeded(after),
            E::SharedSecret(_) => ApiError::new(StatusCode::FORBIDDEN, ErrorKind::Unknown, message),
            E::InvalidRegistrationToken => {
                ApiError::new(StatusCode::UNAUTHORIZED, ErrorKind::Unauthorized, message)
            }
            E::Interaction(info) => match serde_json::to_value(&*info) {
                Ok(body) => ApiError::json(StatusCode::UNAUTHORIZED, body),
                Err(error) => ApiError::internal(error),
            },
            E::NoSuchAccount | E::NoSuchDevice | E::NotFound(_) => ApiError::not_found(message),
            E::EmailDisabled => {
                ApiError::new(StatusCode::FORBIDDEN, ErrorKind::ThreepidDenied, message)
            }
            E::EmailInUse => bad_request(ErrorKind::ThreepidInUse),
            E::EmailNotProven => bad_request(ErrorKind::ThreepidAuthFailed),
            E::UserInUse => bad_request(ErrorKind::UserInUse),
            E::InvalidUsername(_) => bad_request(ErrorKind::InvalidUsername),
            E::WeakPassword(_) => bad_request(ErrorKind::WeakPassword),
            E::KeyTooLarge => bad_request(ErrorKind::KeyTooLarge),
            E::ProfileTooLarge => bad_request(ErrorKind::ProfileTooLarge),
            E::Invalid { .. } => ApiError::invalid_param(message),
            E::ReservedType => {
                ApiError::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::BadJson, message)
            }
            E::TooMany(_) => {
                ApiError::custom(StatusCode::FORBIDDEN, "M_USER_LIMIT_EXCEEDED", &message)
            }
            E::TooLarge(_) => ApiError::too_large(message),
            E::Hashing(_) => ApiError::internal(message),
            E::Store(error) => return error.into(),
        }
        .into()
    }
}
