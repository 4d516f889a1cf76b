//! Who is served, how much at a time, and how much of that to one peer.
//!
//! What is more than that waits for a while: a large server in a rush is served a little later. Who keeps coming
//! nevertheless, or lies, is met as its [`Conduct`] deserves.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use axum::{extract::Request, middleware::Next, response::Response};
use http::StatusCode;
use luxchat_federation::{Conduct, Offence, PeerIdentity, Refusal, Standing};
use luxchat_http::{ApiError, Share, Shares, network_of};
use metrics::counter;
use ruma::{
    OwnedServerName, ServerName,
    api::error::{ErrorKind, LimitExceededErrorData, RetryAfter},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::State;

/// When a peer that was turned away should come again.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// What part of the places one peer may take: a body that trickles in keeps its place for long.
const SHARE: usize = 8;

/// Requests that may wait for each place, of all peers together and of one peer.
const WAITING: usize = 4;

/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Peers whose places are looked through before unused ones go.
const SWEEP_AT: usize = 256;

/// Places for requests.
#[derive(Debug)]
pub(crate) struct Places {
    all: Semaphore,
    each: usize,
    patience: Duration,
    peers: Mutex<HashMap<Holder, Weak<Semaphore>>>,
    /// Served or waiting.
    here: Semaphore,
    here_of_peer: Shares<Holder>,
}

/// A place for a request, until it is dropped.
pub(crate) struct Place<'p> {
    _of_all: SemaphorePermit<'p>,
    _of_peer: OwnedSemaphorePermit,
    _here: SemaphorePermit<'p>,
    _share: Share<Holder>,
}

/// Who takes a place: the server of the certificate, else whoever is at an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Server(OwnedServerName),
    Address(Option<IpAddr>),
}

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        let count = count.clamp(1, Semaphore::MAX_PERMITS / (WAITING + 1));
        let each = (count / SHARE).max(1);
        Self {
            all: Semaphore::new(count),
            each,
            patience: PATIENCE,
            peers: Mutex::default(),
            here: Semaphore::new(count * (WAITING + 1)),
            here_of_peer: Shares::new(each * (WAITING + 1)),
        }
    }

    /// Waits for a place; `None` where too many wait already, or none is free for long.
    async fn take(&self, holder: Holder) -> Option<Place<'_>> {
        let share = self.here_of_peer.take(holder.clone())?;
        let here = self.here.try_acquire().ok()?;
        let places = self.of_peer(holder);
        let turn = async {
            // The peer's own first, so that those who wait for them leave those of all to others.
            let of_peer = places.acquire_owned().await.ok()?;
            let of_all = self.all.acquire().await.ok()?;
            Some((of_peer, of_all))
        };
        let (of_peer, of_all) = tokio::time::timeout(self.patience, turn).await.ok()??;
        Some(Place {
            _of_all: of_all,
            _of_peer: of_peer,
            _here: here,
            _share: share,
        })
    }

    fn of_peer(&self, holder: Holder) -> Arc<Semaphore> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = peers.get(&holder).and_then(Weak::upgrade) {
            return places;
        }
        if peers.len() >= SWEEP_AT {
            peers.retain(|_, places| places.strong_count() > 0);
        }
        let places = Arc::new(Semaphore::new(self.each));
        peers.insert(holder, Arc::downgrade(&places));
        places
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

    fn server(&self) -> Option<&ServerName> {
        match self {
            Self::Server(server) => Some(server),
            Self::Address(_) => None,
        }
    }
}

/// Serves requests for which there is a place, of peers that are not refused.
pub(crate) async fn admit(
    state: State,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let holder = Holder::of(&request);
    let server = holder.server().map(ToOwned::to_owned);
    let conduct = state.federation.conduct();
    if let Some(server) = &server
        && let Standing::Refused(refusal) = conduct.standing(server)
    {
        return Err(refuse(server, &refusal));
    }
    let Some(_place) = state.places().take(holder).await else {
        if let Some(server) = &server {
            conduct.note(server, Offence::Flood);
        }
        counter!("luxchat_federation_turned_away_total", "reason" => "busy").increment(1);
        return Err(ApiError::limit_exceeded(COME_AGAIN));
    };
    if let Some(server) = &server {
        meet(conduct, server).await?;
    }
    Ok(next.run(request).await)
}

/// Meets a server as its conduct deserves: at once, later, or not at all.
pub(crate) async fn meet(conduct: &Conduct, server: &ServerName) -> Result<(), ApiError> {
    match conduct.standing(server) {
        Standing::Good => Ok(()),
        Standing::Slowed(wait) => {
            counter!("luxchat_federation_slowed_total").increment(1);
            tokio::time::sleep(wait).await;
            Ok(())
        }
        Standing::Refused(refusal) => Err(refuse(server, &refusal)),
    }
}

fn refuse(server: &ServerName, refusal: &Refusal) -> ApiError {
    counter!("luxchat_federation_turned_away_total", "reason" => "refused").increment(1);
    let seconds = refusal.left.as_secs() + 1;
    let message = format!(
        "{server} is refused for {seconds} more seconds: {}",
        refusal.offence
    );
    if refusal.offence != Offence::Flood {
        return ApiError::forbidden(message);
    }
    let mut data = LimitExceededErrorData::new();
    data.retry_after = Some(RetryAfter::Delay(refusal.left));
    ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::LimitExceeded(data),
        message,
    )
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::join_all};
    use ruma::server_name;

    use super::*;

    fn holder(server: &ServerName) -> Holder {
        Holder::Server(server.to_owned())
    }

    #[tokio::test]
    async fn one_peer_leaves_places_for_others_and_waits_for_its_own() {
        let places = Places::new(2 * SHARE);
        let (bad, good) = (server_name!("bad.lu"), server_name!("good.lu"));
        let first = places.take(holder(bad)).await.unwrap();
        let _second = places.take(holder(bad)).await.unwrap();
        let mut third = std::pin::pin!(places.take(holder(bad)));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(places.take(holder(good)).now_or_never().unwrap().is_some());
        drop(first);
        assert!(third.now_or_never().unwrap().is_some());
    }

    #[tokio::test]
    async fn a_line_has_an_end() {
        let places = Places::new(SHARE);
        let bad = server_name!("bad.lu");
        let _held = places.take(holder(bad)).await.unwrap();
        let mut line = Box::pin(join_all((0..WAITING).map(|_| places.take(holder(bad)))));
        assert!(line.as_mut().now_or_never().is_none());
        assert!(places.take(holder(bad)).now_or_never().unwrap().is_none());
    }

    #[tokio::test]
    async fn nobody_waits_forever() {
        let mut places = Places::new(SHARE);
        places.patience = Duration::from_millis(5);
        let slow = server_name!("slow.lu");
        let _held = places.take(holder(slow)).await.unwrap();
        assert!(places.take(holder(slow)).await.is_none());
    }

    #[tokio::test]
    async fn places_of_who_has_gone_take_no_memory() {
        let places = Places::new(SHARE);
        for number in 0..4 * SWEEP_AT {
            let server = ServerName::parse(format!("s{number}.lu")).unwrap();
            assert!(places.take(holder(&server)).await.is_some());
        }
        assert!(places.peers.lock().unwrap().len() <= SWEEP_AT);
    }
}
