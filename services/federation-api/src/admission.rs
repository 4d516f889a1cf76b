//! How much is served at a time.

use std::time::Duration;

use axum::{extract::Request, middleware::Next, response::Response};
use luxchat_http::ApiError;

use crate::State;

/// When a peer that was turned away should come again.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Turns requests away where too many are being served.
pub(crate) async fn admit(
    state: State,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Ok(_place) = state.places().try_acquire() else {
        return Err(ApiError::limit_exceeded(COME_AGAIN));
    };
    Ok(next.run(request).await)
}
