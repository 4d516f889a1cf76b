use http::StatusCode;
use luxchat_federation::Error as FederationError;
use luxchat_http::ApiError;
use ruma::api::error::{Error as RemoteError, ErrorBody, ErrorKind};

use super::Error;

impl From<FederationError> for Error {
    fn from(error: FederationError) -> Self {
        use FederationError as E;
        let message = error.to_string();
        let new = |status, kind| ApiError::new(status, kind, message.clone());
        match error {
            E::Denied { .. } => ApiError::forbidden(message),
            E::Refused { error, .. } => refused(&error, message),
            E::Timeout(_) => new(StatusCode::GATEWAY_TIMEOUT, ErrorKind::Unknown),
            E::NoAddress(_)
            | E::Unreachable { .. }
            | E::TooLarge { .. }
            | E::InvalidResponse { .. }
            | E::NoKeys { .. }
            | E::Signature(_) => new(StatusCode::BAD_GATEWAY, ErrorKind::Unknown),
            E::InvalidRequest(_) | E::Config(_) => ApiError::internal(message),
            E::Store(error) => return error.into(),
        }
        .into()
    }
}

/// What another server refused, a client may know: status and kind pass, but for those that speak of servers among
/// themselves, such as a wrong signature.
fn refused(error: &RemoteError, message: String) -> ApiError {
    let kind = match &error.body {
        ErrorBody::Standard(body) => body.kind.clone(),
        _ => ErrorKind::Unknown,
    };
    let passes = error.status_code.is_client_error()
        && error.status_code != StatusCode::UNAUTHORIZED
        && !matches!(kind, ErrorKind::Unrecognized);
    if passes {
        ApiError::new(error.status_code, kind, message)
    } else {
        ApiError::new(StatusCode::BAD_GATEWAY, ErrorKind::Unknown, message)
    }
}
