use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;

/// An answer to the operator: a status and one sentence.
#[derive(Debug)]
pub(crate) struct Error {
    status: StatusCode,
    message: String,
}

impl Error {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl From<luxchat_accounts::Error> for Error {
    fn from(error: luxchat_accounts::Error) -> Self {
        use luxchat_accounts::Error as Accounts;
        let status = match &error {
            Accounts::NoSuchAccount => StatusCode::NOT_FOUND,
            Accounts::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

impl From<luxchat_media::Error> for Error {
    fn from(error: luxchat_media::Error) -> Self {
        use luxchat_media::Error as Media;
        let status = match &error {
            Media::NotFound => StatusCode::NOT_FOUND,
            Media::InvalidTarget(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<luxchat_store::Error> for Error {
    fn from(error: luxchat_store::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}
