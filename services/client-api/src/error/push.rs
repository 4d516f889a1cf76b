use luxchat_http::ApiError;
use luxchat_push::Error as PushError;

use super::Error;

impl From<PushError> for Error {
    fn from(error: PushError) -> Self {
        use PushError as E;
        let message = error.to_string();
        match error {
            E::Invalid(_) | E::GatewayNotAllowed(_) | E::TooManyPushers(_) => {
                ApiError::invalid_param(message).into()
            }
            E::Config(_) => ApiError::internal(message).into(),
            E::Store(error) => error.into(),
        }
    }
}
