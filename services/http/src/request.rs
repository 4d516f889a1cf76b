//! From an HTTP request to an endpoint's type.

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::Bytes;
use http::{Method, request::Parts};
use ruma::api::IncomingRequestExt;
use ruma::api::{
    IncomingRequest,
    error::{DeserializationError, FromHttpRequestError},
};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::{ApiError, Limits, check_json, read_body};

/// A request with a JSON body, or none, parsed as the endpoint `T`, whatever its Content-Type, within the router's [`Limits`].
/// No body is as good as an empty object.
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

/// The same, with the fields of the body beside it: for endpoints that hand on what their type does not know.
///
/// # Errors
///
/// As [`Matrix`].
#[derive(Clone, Debug)]
pub struct MatrixWithBody<T> {
    /// The request.
    pub request: T,
    /// The body.
    pub body: serde_json::Map<String, serde_json::Value>,
}

impl<T, S> FromRequest<S> for MatrixWithBody<T>
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
        let request = parse(parts, &body, &path_args, limits)?;
        Ok(Self {
            request,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        })
    }
}

/// A JSON body alone, within the router's [`Limits`], of an endpoint that ruma has no type for. No body is as good as an
/// empty object.
///
/// # Errors
///
/// 413 `M_TOO_LARGE`, 400 `M_NOT_JSON` or `M_BAD_JSON`.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

impl<T, S> FromRequest<S> for JsonBody<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let limits: Limits = parts.extensions.get().copied().unwrap_or_default();
        let body = read_body(&parts, body, limits).await?;
        check_json(&body, limits.nesting)?;
        let body = if body.is_empty() {
            b"{}"
        } else {
            body.as_ref()
        };
        let parsed = serde_json::from_slice(body);
        parsed
            .map(Self)
            .map_err(|error| bad_request(DeserializationError::from(error).into()))
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
    let mut body = body.as_ref();
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        check_json(body, limits.nesting)?;
        // Clients leave out a body that would say nothing; not every endpoint type of ruma expects that.
        if body.is_empty() {
            body = b"{}";
        }
    }
    let path_args: Vec<&str> = path_args.iter().map(|(_, value)| value).collect();
    let request = http::Request::from_parts(parts, body);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Extension, Router, body::Body};
    use http::StatusCode;
    use http_body_util::BodyExt;
    use ruma::api::client::{
        account::whoami::v3 as whoami, room::report_content::v3 as report,
        state::get_state_event_for_key::v3 as get_state, tag::create_tag::v3 as create_tag,
    };
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;
    use crate::{Endpoints, Reply, catch_panic, with_fallbacks};

    const TAG: &str = "/_matrix/client/v3/user/@a:b.c/rooms/!r:b.c/tags/";

    /// Answers with what it understood.
    async fn tag(Matrix(request): Matrix<create_tag::Request>) -> axum::Json<Value> {
        let order = request.tag_info.order;
        axum::Json(json!({ "user": request.user_id, "tag": request.tag, "order": order }))
    }

    async fn state(Matrix(request): Matrix<get_state::Request>) -> String {
        format!("{}|{}", request.event_type, request.state_key)
    }

    async fn whoami(_: Matrix<whoami::Request>) -> Reply<whoami::Response> {
        Reply(whoami::Response::new(ruma::owned_user_id!("@a:b.c"), false))
    }

    async fn report(_: Matrix<report::Request>) -> Reply<report::Response> {
        panic!("the handler has a bug");
    }

    fn router() -> Router {
        let state_path = "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/";
        let router = Router::new()
            .endpoint::<create_tag::Request, _>(tag)
            .endpoint::<whoami::Request, _>(whoami)
            .endpoint::<report::Request, _>(report)
            .endpoint::<get_state::Request, _>(state)
            .endpoint_at::<get_state::Request, _>(state_path, state);
        with_fallbacks(router)
            .layer(Extension(Limits {
                body_bytes: 100,
                body_time: Duration::from_millis(20),
                nesting: 3,
            }))
            .layer(catch_panic())
    }

    async fn ask(method: Method, path: &str, body: impl Into<Body>) -> (StatusCode, Bytes) {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.body(body.into()).unwrap();
        let response = router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, body.collect().await.unwrap().to_bytes())
    }

    async fn refusal(method: Method, path: &str, body: impl Into<Body>) -> (u16, String) {
        let (status, body) = ask(method, path, body).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        (
            status.as_u16(),
            body["errcode"].as_str().unwrap().to_owned(),
        )
    }

    fn error(status: u16, code: &str) -> (u16, String) {
        (status, code.to_owned())
    }

    #[tokio::test]
    async fn every_path_of_an_endpoints_history_leads_to_it() {
        for version in ["r0", "v3"] {
            let path = format!("/_matrix/client/{version}/account/whoami");
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(ask(method, &path, "").await.0, StatusCode::OK);
            }
        }
    }

    #[tokio::test]
    async fn path_arguments_are_decoded() {
        let path = format!("{TAG}u.a%2Fb%20%C3%A9");
        let (_, body) = ask(Method::PUT, &path, r#"{"order":0.5}"#).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            json!({ "user": "@a:b.c", "tag": "u.a/b é", "order": 0.5 })
        );
        let refused = refusal(Method::PUT, &format!("{TAG}%ff"), "{}").await;
        assert_eq!(refused, error(400, "M_INVALID_PARAM"));
    }

    #[tokio::test]
    async fn a_path_may_be_added_with_fewer_arguments() {
        let rooms = "/_matrix/client/v3/rooms/!r:b.c/state/m.room.name/";
        assert_eq!(ask(Method::GET, rooms, "").await.1, "m.room.name|");
        let keyed = format!("{rooms}key");
        assert_eq!(ask(Method::GET, &keyed, "").await.1, "m.room.name|key");
    }

    #[tokio::test]
    async fn an_empty_body_is_an_empty_object() {
        let (status, body) = ask(Method::PUT, &format!("{TAG}u.a"), "").await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
    }

    #[tokio::test]
    async fn bodies_are_refused_for_what_they_are() {
        let path = format!("{TAG}u.a");
        let put = async |body: &'static [u8]| refusal(Method::PUT, &path, body).await;
        assert_eq!(put(b"{").await, error(400, "M_NOT_JSON"));
        assert_eq!(put(b"{} {}").await, error(400, "M_NOT_JSON"));
        assert_eq!(put(b"\xff").await, error(400, "M_NOT_JSON"));
        assert_eq!(put(br#"{"order":{}}"#).await, error(400, "M_BAD_JSON"));
        assert_eq!(put(b"[]").await, error(400, "M_BAD_JSON"));
        assert_eq!(put(br#"{"a":[[[1]]]}"#).await, error(400, "M_BAD_JSON"));
        assert_eq!(put(&[b' '; 101]).await, error(413, "M_TOO_LARGE"));
    }

    #[tokio::test]
    async fn a_body_that_stalls_or_breaks_off_is_given_up() {
        type Chunk = Result<&'static str, std::io::Error>;
        let path = format!("{TAG}u.a");
        let stalled = Body::from_stream(futures_util::stream::pending::<Chunk>());
        let refused = refusal(Method::PUT, &path, stalled).await;
        assert_eq!(refused, error(408, "M_UNKNOWN"));
        let chunks: [Chunk; 2] = [Ok("{"), Err(std::io::Error::other("reset"))];
        let broken = Body::from_stream(futures_util::stream::iter(chunks));
        let refused = refusal(Method::PUT, &path, broken).await;
        assert_eq!(refused, error(400, "M_UNKNOWN"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_unrecognized() {
        let refused = refusal(Method::GET, "/nothing", "").await;
        assert_eq!(refused, error(404, "M_UNRECOGNIZED"));
        let refused = refusal(Method::DELETE, &format!("{TAG}u.a"), "").await;
        assert_eq!(refused, error(405, "M_UNRECOGNIZED"));
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let path = "/_matrix/client/v3/rooms/!r:b.c/report/$e";
        assert_eq!(
            refusal(Method::POST, path, "{}").await,
            error(500, "M_UNKNOWN")
        );
    }
}
