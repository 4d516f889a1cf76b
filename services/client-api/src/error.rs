//! From the services' errors to Matrix error codes: the only place where that is decided.

mod accounts;
mod application_services;
mod encryption;
mod federation;
mod media;
mod previews;
mod push;
mod rooms;
mod store;
mod sync;

use axum::response::{IntoResponse, Response};
use luxchat_http::{ApiError, Reply, Sparse};

/// What an endpoint answers when it fails. Services' errors turn into it with `?`.
#[derive(Debug)]
pub(crate) struct Error(ApiError);

/// What an endpoint returns.
pub(crate) type Answer<R> = Result<Reply<R>, Error>;

/// What an endpoint returns whose answer has fields that may be absent.
pub(crate) type SparseAnswer<R> = Result<Sparse<R>, Error>;

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}
