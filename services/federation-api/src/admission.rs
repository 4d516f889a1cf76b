//! How much is served at a time, and how much of that to one peer.

use std::{net::IpAddr, time::Duration};

use axum::{extract::Request, middleware::Next, response::Response};
use luxchat_federation::PeerIdentity;
use luxchat_http::{ApiError, Share, Shares, network_of};
use ruma::OwnedServerName;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::State;

/// When a peer that was turned away should come again.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// What part of the places one peer may take: a body that trickles in keeps its place for long.
const SHARE: usize = 8;

/// Places for requests.
#[derive(Debug)]
pub(crate) struct Places {
    all: Semaphore,
    peers: Shares<Holder>,
}

/// Who takes a place: the server of the certificate, else whoever is at an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Server(OwnedServerName),
    Address(Option<IpAddr>),
}

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            all: Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)),
            peers: Shares::new(count / SHARE),
        }
    }

    fn take(&self, holder: Holder) -> Option<(SemaphorePermit<'_>, Share<Holder>)> {
        let share = self.peers.take(holder)?;
        let permit = self.all.try_acquire().ok()?;
        Some((permit, share))
    }
}

impl Holder {
    fn of(request: &Request) -> Self {
        let peer = request.extensions().get::<PeerIdentity>();
        if let Some(server) = peer.and_then(PeerIdentity::server_name) {
            return Self::Server(server.to_owned());
        }
        let address = peer.and_then(PeerIdentity::address);
        Self::Address(address.map(|address| network_of(address.ip())))
    }
}

/// Turns requests away where too many are being served.
pub(crate) async fn admit(
    state: State,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(_place) = state.places().take(Holder::of(&request)) else {
        return Err(ApiError::limit_exceeded(COME_AGAIN));
    };
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn one_peer_leaves_places_for_others() {
        let places = Places::new(2 * SHARE);
        let take = |server| places.take(Holder::Server(server));
        let bad = || server_name!("bad.lu").to_owned();
        let _held = [take(bad()).unwrap(), take(bad()).unwrap()];
        assert!(take(bad()).is_none());
        assert!(take(server_name!("good.lu").to_owned()).is_some());
    }
}
