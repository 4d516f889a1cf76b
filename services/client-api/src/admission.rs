//! Which requests are let in at all: only so many at a time, and from whoever has no token only so fast.

use std::time::Duration;

use axum::{
    extract::{Request, State as Extract},
    middleware::Next,
    response::Response,
};
use luxchat_http::ApiError;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{State, address::ClientAddress, auth::access_token, error::Error};

/// When to come back where the server is full.
const COME_BACK: Duration = Duration::from_secs(2);

/// Places for requests. Syncs wait long and work little, so they have places of their own.
#[derive(Debug)]
pub(crate) struct Places {
    requests: Semaphore,
    syncs: Semaphore,
}

impl Places {
    pub(crate) fn new(requests: usize, syncs: usize) -> Self {
        let places = |count: usize| Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS));
        Self {
            requests: places(requests),
            syncs: places(syncs),
        }
    }

    fn take(&self, is_sync: bool) -> Result<SemaphorePermit<'_>, ApiError> {
        let places = if is_sync { &self.syncs } else { &self.requests };
        places
            .try_acquire()
            .map_err(|_| ApiError::limit_exceeded(COME_BACK))
    }
}

/// Lets a request in or answers 429 `M_LIMIT_EXCEEDED`.
pub(crate) async fn admit(
    Extract(state): Extract<State>,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    let is_sync = request.uri().path().ends_with("/sync");
    let _place = state.places().take(is_sync)?;
    let (parts, body) = request.into_parts();
    // Whoever has a token is limited by user, once it is known whose it is.
    if access_token(&parts).is_none()
        && let Some(limiter) = state.limiter()
    {
        let ClientAddress(address) = ClientAddress::of(&parts, state.config());
        limiter.check_address(address)?;
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_syncs_leave_room_for_requests() {
        let places = Places::new(1, 1);
        let sync = places.take(true).unwrap();
        let request = places.take(false).unwrap();
        assert!(places.take(true).is_err());
        assert!(places.take(false).is_err());
        drop(request);
        assert!(places.take(false).is_ok());
        drop(sync);
        assert!(places.take(true).is_ok());
    }
}
