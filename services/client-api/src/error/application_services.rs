use http::StatusCode;
use luxchat_application_services::{Error as ServicesError, PingError};
use luxchat_http::ApiError;
use ruma::api::error::ErrorKind;
use serde_json::json;

use super::Error;

impl From<ServicesError> for Error {
    fn from(error: ServicesError) -> Self {
        use ServicesError as E;
        let message = error.to_string();
        match error {
            E::TimedOut => ApiError::new(StatusCode::REQUEST_TIMEOUT, ErrorKind::Unknown, message),
            E::Unreachable(_) | E::Refused(_) => {
                ApiError::new(StatusCode::BAD_GATEWAY, ErrorKind::Unknown, message)
            }
            E::Tls(_) => ApiError::internal(message),
            E::Store(error) => return error.into(),
        }
        .into()
    }
}

impl From<PingError> for Error {
    fn from(error: PingError) -> Self {
        let message = error.to_string();
        let new = |status, kind| ApiError::new(status, kind, message.clone());
        match error {
            PingError::NoUrl => new(StatusCode::BAD_REQUEST, ErrorKind::UrlNotSet),
            PingError::Status { status, body } => ApiError::json(
                StatusCode::BAD_GATEWAY,
                json!({
                    "errcode": "M_BAD_STATUS",
                    "error": message,
                    "status": status.as_u16(),
                    "body": body,
                }),
            ),
            PingError::TimedOut => new(StatusCode::GATEWAY_TIMEOUT, ErrorKind::ConnectionTimeout),
            PingError::Unreachable(_) => new(StatusCode::BAD_GATEWAY, ErrorKind::ConnectionFailed),
        }
        .into()
    }
}
