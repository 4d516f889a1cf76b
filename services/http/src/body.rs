//! Reading a request body within its limits.

use axum::body::Body;
use bytes::Bytes;
use http::{StatusCode, header::CONTENT_LENGTH, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use ruma::api::error::ErrorKind;

use crate::{ApiError, Limits};

/// Reads the whole body.
///
/// # Errors
///
/// 413 `M_TOO_LARGE` beyond the limit (at once where Content-Length says so), 408 when it takes too long, 400 when the
/// connection breaks.
pub async fn read_body(parts: &Parts, body: Body, limits: Limits) -> Result<Bytes, ApiError> {
    let announced = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits.body_bytes as u64) {
        return Err(too_large(limits));
    }
    let read = Limited::new(body, limits.body_bytes).collect();
    match tokio::time::timeout(limits.body_time, read).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if is_length_limit(&*error) => Err(too_large(limits)),
        Ok(Err(_)) => Err(ApiError::bad_request("The request body broke off")),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            ErrorKind::Unknown,
            "The request body took too long to arrive",
        )),
    }
}

fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<LengthLimitError>() || error.source().is_some_and(is_length_limit)
}

fn too_large(limits: Limits) -> ApiError {
    ApiError::too_large(format!(
        "The request body is larger than {} bytes",
        limits.body_bytes
    ))
}
