//! axum's extractors of paths and queries, with Matrix errors.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::ApiError;

/// The variables of a path.
///
/// # Errors
///
/// 400 `M_INVALID_PARAM`.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

/// The parameters of a query.
///
/// # Errors
///
/// 400 `M_INVALID_PARAM`.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        let axum::extract::Path(value) =
            path.map_err(|error| ApiError::invalid_param(error.body_text()))?;
        Ok(Self(value))
    }
}

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::try_from_uri(&parts.uri);
        let axum::extract::Query(value) =
            query.map_err(|error| ApiError::invalid_param(error.body_text()))?;
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use http::{Request, StatusCode};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_a_matrix_error() {
        let handler = async |Path(_): Path<u8>, Query(_): Query<Vec<(String, String)>>| "";
        let router: Router = Router::new().route("/{number}", get(handler));
        let ask = async |target: &str| {
            let request = Request::get(target).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            (status, response.into_body().collect().await.unwrap())
        };
        assert_eq!(ask("/7?a=b").await.0, StatusCode::OK);
        for target in ["/seven", "/%FF"] {
            let (status, body) = ask(target).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{target}");
            let body: serde_json::Value = serde_json::from_slice(&body.to_bytes()).unwrap();
            assert_eq!(body["errcode"], "M_INVALID_PARAM");
        }
    }
}
