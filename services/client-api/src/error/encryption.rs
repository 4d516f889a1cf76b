use http::StatusCode;
use luxchat_encryption::Error as EncryptionError;
use luxchat_http::ApiError;
use ruma::api::error::{ErrorKind, WrongRoomKeysVersionErrorData};

use super::Error;

impl From<EncryptionError> for Error {
    fn from(error: EncryptionError) -> Self {
        use EncryptionError as E;
        let message = error.to_string();
        match error {
            E::Malformed(_) => ApiError::bad_json(message),
            E::Invalid(_) | E::OneTimeKeyExists(_) => ApiError::invalid_param(message),
            E::NoMasterKey => ApiError::missing_param(message),
            E::InvalidSignature(_) => {
                ApiError::custom(StatusCode::BAD_REQUEST, "M_INVALID_SIGNATURE", &message)
            }
            E::KeyIdInUse | E::AuthenticationRequired | E::ForeignUser { .. } => {
                ApiError::forbidden(message)
            }
            E::NotFound(_) => ApiError::not_found(message),
            E::WrongBackupVersion { current } => ApiError::new(
                StatusCode::FORBIDDEN,
                ErrorKind::WrongRoomKeysVersion(WrongRoomKeysVersionErrorData::new(current)),
                message,
            ),
            E::TooLarge(_) => ApiError::too_large(message),
            E::Store(error) => return error.into(),
        }
        .into()
    }
}
