//! A handler that panics answers 500 and takes nothing else down.

use std::any::Any;

use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use crate::ApiError;

/// The layer of [`catch_panic`].
pub type CatchPanic = CatchPanicLayer<fn(Box<dyn Any + Send>) -> Response>;

/// Turns a panic into 500 `M_UNKNOWN`.
pub fn catch_panic() -> CatchPanic {
    CatchPanicLayer::custom(answer as fn(Box<dyn Any + Send>) -> Response)
}

fn answer(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    ApiError::internal(format_args!("a handler panicked: {message}")).into_response()
}
