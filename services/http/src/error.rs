//! An error as Matrix writes it: HTTP status, `errcode`, `error`, and whatever else the code calls for.

use std::{fmt, time::Duration};

use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http::StatusCode;
use ruma::api::{
    OutgoingResponseExt,
    error::{
        Error, ErrorBody, ErrorKind, LimitExceededErrorData, RetryAfter, StandardErrorBody,
        UnknownTokenErrorData,
    },
};
use serde_json::{Value, json};
use tracing::error;

/// What a handler answers when it cannot do what was asked.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#standard-error-response).
#[derive(Debug)]
pub struct ApiError(Box<Error>);

impl ApiError {
    /// An error of one of the kinds that Matrix defines.
    pub fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        let body = ErrorBody::Standard(StandardErrorBody::new(kind, message.into()));
        Self(Box::new(Error::new(status, body)))
    }

    /// An error with a code that ruma has no kind for, or without one of the fields that it asks for.
    pub fn custom(status: StatusCode, errcode: &str, message: &str) -> Self {
        Self::json(status, json!({ "errcode": errcode, "error": message }))
    }

    /// An answer with any JSON body, such as the state of a user-interactive authentication.
    pub fn json(status: StatusCode, body: Value) -> Self {
        Self(Box::new(Error::new(status, ErrorBody::Json(body))))
    }

    /// 400 `M_BAD_JSON`
    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::BadJson, message)
    }

    /// 400 `M_NOT_JSON`
    pub fn not_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::NotJson, message)
    }

    /// 400 `M_INVALID_PARAM`
    pub fn invalid_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidParam, message)
    }

    /// 400 `M_MISSING_PARAM`
    pub fn missing_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::MissingParam, message)
    }

    /// 400 `M_UNKNOWN`
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::Unknown, message)
    }

    /// 401 `M_MISSING_TOKEN`
    pub fn missing_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            ErrorKind::MissingToken,
            "Missing access token",
        )
    }

    /// 401 `M_UNKNOWN_TOKEN`; with `soft_logout`, the client may log in again and keep its data.
    pub fn unknown_token(soft_logout: bool, message: impl Into<String>) -> Self {
        let mut data = UnknownTokenErrorData::new();
        data.soft_logout = soft_logout;
        Self::new(
            StatusCode::UNAUTHORIZED,
            ErrorKind::UnknownToken(data),
            message,
        )
    }

    /// 403 `M_FORBIDDEN`
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorKind::Forbidden, message)
    }

    /// 404 `M_NOT_FOUND`
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, message)
    }

    /// 413 `M_TOO_LARGE`
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge, message)
    }

    /// 429 `M_LIMIT_EXCEEDED`, with the time after which to try again.
    pub fn limit_exceeded(retry_after: Duration) -> Self {
        let mut data = LimitExceededErrorData::new();
        data.retry_after = Some(RetryAfter::Delay(retry_after));
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::LimitExceeded(data),
            "Too many requests",
        )
    }

    /// 500 `M_UNKNOWN`. The log keeps the reason; the caller learns nothing about it.
    pub fn internal(reason: impl fmt::Display) -> Self {
        error!(%reason, "internal error");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::Unknown,
            "Internal server error",
        )
    }

    /// The HTTP status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.0.status_code
    }

    /// The Matrix error code, where the body has one.
    pub fn errcode(&self) -> Option<String> {
        match &self.0.body {
            ErrorBody::Standard(body) => Some(body.kind.errcode().to_string()),
            ErrorBody::Json(body) => body.get("errcode")?.as_str().map(ToOwned::to_owned),
            ErrorBody::NotJson { .. } => None,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self.0.try_into_http_response::<BytesMut>() {
            Ok(response) => response.map(|body| body.freeze().into()),
            Err(error) => {
                error!(%error, "an error response could not be written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn parts(error: ApiError) -> (StatusCode, http::HeaderMap, Value) {
        let response = error.into_response();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            parts.headers,
            serde_json::from_slice(&body).unwrap(),
        )
    }

    #[tokio::test]
    async fn a_rate_limit_names_the_time_to_wait() {
        let (status, headers, body) =
            parts(ApiError::limit_exceeded(Duration::from_millis(1_500))).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(body["errcode"], "M_LIMIT_EXCEEDED");
        assert_eq!(body["retry_after_ms"], 1_500);
        assert_eq!(headers["retry-after"], "1");
        assert_eq!(headers["content-type"], "application/json");
    }

    #[tokio::test]
    async fn a_soft_logout_says_so() {
        let (status, _, body) = parts(ApiError::unknown_token(true, "expired")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            body,
            json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "expired", "soft_logout": true })
        );
    }

    #[tokio::test]
    async fn an_internal_error_keeps_its_reason() {
        let (status, _, body) = parts(ApiError::internal("the disk burns")).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            body,
            json!({ "errcode": "M_UNKNOWN", "error": "Internal server error" })
        );
    }
}
