//! Which requests are let in at all: only so many at a time, of those only so many from one address, and from whoever has
//! no token only so fast.

use std::{net::IpAddr, time::Duration};

use axum::{
    extract::{Request, State as Extract},
    middleware::Next,
    response::Response,
};
use luxchat_http::{ApiError, Share, Shares, network_of};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{State, address::ClientAddress, auth::access_token, error::Error};

/// When to come back where the server is full.
const COME_BACK: Duration = Duration::from_secs(2);

/// What part of the places for requests one address may take: a body that trickles in keeps its place for long.
const SHARE: usize = 4;

/// Places for requests. Syncs wait long and work little, so they have places of their own.
#[derive(Debug)]
pub(crate) struct Places {
    requests: Semaphore,
    syncs: Semaphore,
    addresses: Shares<IpAddr>,
}

/// A place, until it is dropped.
#[derive(Debug)]
struct Place<'a> {
    _permit: SemaphorePermit<'a>,
    _share: Option<Share<IpAddr>>,
}

impl Places {
    pub(crate) fn new(requests: usize, syncs: usize) -> Self {
        let places = |count: usize| Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS));
        Self {
            requests: places(requests),
            syncs: places(syncs),
            addresses: Shares::new(requests / SHARE),
        }
    }

    /// A place for a request from an address; those from this machine have no share of their own.
    fn take(&self, is_sync: bool, address: Option<IpAddr>) -> Result<Place<'_>, ApiError> {
        let full = || ApiError::limit_exceeded(COME_BACK);
        let is_counted = |address: &IpAddr| !is_sync && !address.to_canonical().is_loopback();
        let share = match address.filter(is_counted) {
            Some(address) => {
                let share = self.addresses.take(network_of(address));
                Some(share.ok_or_else(full)?)
            }
            None => None,
        };
        let places = if is_sync { &self.syncs } else { &self.requests };
        let permit = places.try_acquire().map_err(|_| full())?;
        Ok(Place {
            _permit: permit,
            _share: share,
        })
    }
}

/// Lets a request in or answers 429 `M_LIMIT_EXCEEDED`.
pub(crate) async fn admit(
    Extract(state): Extract<State>,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    let path = request.uri().path();
    // Both wait for something to happen.
    let is_sync = path.ends_with("/sync") || path.ends_with("/events");
    let (parts, body) = request.into_parts();
    let ClientAddress(address) = ClientAddress::of(&parts, state.config());
    let _place = state.places().take(is_sync, address)?;
    // Whoever has a token is limited by user, once it is known whose it is.
    if access_token(&parts).is_none()
        && let Some(limiter) = state.limiter()
    {
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
        let sync = places.take(true, None).unwrap();
        let request = places.take(false, None).unwrap();
        assert!(places.take(true, None).is_err());
        assert!(places.take(false, None).is_err());
        drop(request);
        assert!(places.take(false, None).is_ok());
        drop(sync);
        assert!(places.take(true, None).is_ok());
    }

    #[test]
    fn one_address_leaves_places_for_others() {
        let places = Places::new(8, 8);
        let take = |address: &str| places.take(false, Some(address.parse().unwrap()));
        let _held = [take("192.0.2.1").unwrap(), take("192.0.2.1").unwrap()];
        assert!(take("192.0.2.1").is_err());
        assert!(take("192.0.2.2").is_ok());
        assert!(take("127.0.0.1").is_ok());
        let sync = places.take(true, Some("192.0.2.1".parse().unwrap()));
        assert!(sync.is_ok());
    }
}
