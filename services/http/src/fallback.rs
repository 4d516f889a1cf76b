//! What is answered where no endpoint is.

use axum::Router;
use http::StatusCode;
use ruma::api::error::ErrorKind;

use crate::ApiError;

/// Answers unknown paths with 404 and unknown methods with 405, both `M_UNRECOGNIZED`.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#common-error-codes).
pub fn with_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(async || unrecognized(StatusCode::NOT_FOUND))
        .method_not_allowed_fallback(async || unrecognized(StatusCode::METHOD_NOT_ALLOWED))
}

fn unrecognized(status: StatusCode) -> ApiError {
    ApiError::new(status, ErrorKind::Unrecognized, "Unrecognized request")
}
