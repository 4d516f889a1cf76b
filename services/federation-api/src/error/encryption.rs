use luxchat_encryption::Error as EncryptionError;
use luxchat_http::ApiError;

use super::Error;

impl From<EncryptionError> for Error {
    fn from(error: EncryptionError) -> Self {
        use EncryptionError as E;
        let message = error.to_string();
        match error {
            E::Store(error) => return error.into(),
            E::NotFound(_) => ApiError::not_found(message),
            E::ForeignUser { .. } => ApiError::forbidden(message),
            E::TooLarge(_) => ApiError::too_large(message),
            E::Malformed(_) => ApiError::bad_json(message),
            E::Invalid(_)
            | E::OneTimeKeyExists(_)
            | E::NoMasterKey
            | E::InvalidSignature(_)
            | E::KeyIdInUse
            | E::AuthenticationRequired
            | E::WrongBackupVersion { .. } => ApiError::invalid_param(message),
        }
        .into()
    }
}
