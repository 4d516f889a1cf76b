//! From an HTTP request to an endpoint's type.

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::Bytes;
use http::{Method, request::Parts};
use ruma::api::IncomingRequestExt;
use ruma::api::{
    IncomingRequest,
    error::{DeserializationError, FromHttpRequestError},
};
use serde_json::error::Category;

use crate::{ApiError, Limits, check_json, read_body};

/// A request parsed as the endpoint `T`, whatever its Content-Type, within the router's [`Limits`].
///
/// # Errors
///
/// 413 `M_TOO_LARGE`, 400 `M_NOT_JSON` or `M_BAD_JSON` for the body, 400 `M_INVALID_PARAM` for path, query and headers.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<T>(pub T);

impl<T, S> FromRequest<S> for Matrix<T>
where
    T: IncomingRequest + Send,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let limits = parts.extensions.get().copied().unwrap_or_default();
        let body = read_body(&parts, body, limits).await?;
        let path_args = path_args(&mut parts, state).await?;
        parse(parts, &body, &path_args, limits).map(Self)
    }
}

async fn path_args<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<RawPathParams, ApiError> {
    RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| ApiError::invalid_param("The path is not UTF-8"))
}

fn parse<T: IncomingRequest>(
    parts: Parts,
    body: &Bytes,
    path_args: &RawPathParams,
    limits: Limits,
) -> Result<T, ApiError> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        check_json(body, limits.nesting)?;
    }
    let path_args: Vec<&str> = path_args.iter().map(|(_, value)| value).collect();
    let request = http::Request::from_parts(parts, body.as_ref());
    T::try_from_http_request(request, &path_args).map_err(bad_request)
}

fn bad_request(error: FromHttpRequestError) -> ApiError {
    let FromHttpRequestError::Deserialization(error) = error else {
        return ApiError::bad_request("Wrong method for this endpoint");
    };
    match error {
        DeserializationError::Json(error) => match error.classify() {
            Category::Data => ApiError::bad_json(error.to_string()),
            Category::Io | Category::Syntax | Category::Eof => {
                ApiError::not_json(error.to_string())
            }
        },
        DeserializationError::Utf8(error) => ApiError::not_json(error.to_string()),
        other => {
            let message = other.to_string();
            if message.starts_with("missing field") {
                ApiError::missing_param(message)
            } else {
                ApiError::invalid_param(message)
            }
        }
    }
}
