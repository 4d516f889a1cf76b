//! The network between the boxes: it delays, reorders, loses and repeats, and falls apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
};
use bytes::Bytes;
use luxchat_federation::{Carried, Carrier, Error, PeerIdentity, Result};
use ruma::{OwnedServerName, ServerName};
use tokio::{task::JoinHandle, time::sleep};
use tower::ServiceExt;

use crate::{
    byzantine::Byzantine,
    dice::Dice,
    machine::Power,
    trace::{Trace, digest_of},
};

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Of a hundred requests, so many are lost on the way, and so many answers.
    pub(crate) lost: u64,
    /// Of a hundred requests, so many arrive a second time.
    pub(crate) repeated: u64,
    /// Of a hundred messages, so many take seconds.
    pub(crate) late: u64,
}

impl Weather {
    /// Nothing is lost, nothing is late.
    pub(crate) const FAIR: Self = Self {
        lost: 0,
        repeated: 0,
        late: 0,
    };
}

/// The network. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dice: Dice,
    trace: Trace,
    state: Mutex<State>,
    byzantine: Option<Byzantine>,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    servers: BTreeMap<OwnedServerName, Socket>,
    /// Pairs of servers that cannot reach each other, the smaller name first.
    cut: BTreeSet<(OwnedServerName, OwnedServerName)>,
}

/// Where requests arrive.
#[derive(Clone, Debug)]
struct Socket {
    router: Router,
    power: Power,
}

/// One box's way into the network.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    network: Network,
    power: Power,
}

/// What becomes of one request.
struct Fate {
    out: Duration,
    back: Duration,
    again: Option<Duration>,
    request_lost: bool,
    answer_lost: bool,
    /// Whether the work on it ends where the one who asks hangs up.
    hangs_up: bool,
}

impl Network {
    /// A network in fair weather. What `byzantine` sends and answers, it changes on the way.
    pub(crate) fn new(dice: Dice, trace: Trace, byzantine: Option<Byzantine>) -> Self {
        let state = State {
            weather: Weather::FAIR,
            servers: BTreeMap::new(),
            cut: BTreeSet::new(),
        };
        Self {
            shared: Arc::new(Shared {
                dice,
                trace,
                state: Mutex::new(state),
                byzantine,
            }),
        }
    }

    /// Makes a box reachable for as long as it has power, in place of an earlier one of that name.
    pub(crate) fn attach(&self, name: &ServerName, router: Router, power: Power) {
        let socket = Socket { router, power };
        self.state().servers.insert(name.to_owned(), socket);
    }

    /// A box's way into the network.
    pub(crate) fn wire(&self, power: Power) -> Wire {
        Wire {
            network: self.clone(),
            power,
        }
    }

    /// Changes the weather.
    pub(crate) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Cuts two servers off from each other, or joins them again.
    pub(crate) fn set_cut(&self, one: &ServerName, other: &ServerName, is_cut: bool) {
        let pair = pair(one, other);
        if is_cut {
            self.state().cut.insert(pair);
        } else {
            self.state().cut.remove(&pair);
        }
    }

    /// Everyone reaches everyone, in fair weather; the byzantine server tells no more lies.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.cut.clear();
        state.weather = Weather::FAIR;
        drop(state);
        if let Some(byzantine) = &self.shared.byzantine {
            byzantine.repent();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = &self.shared.state;
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cut(&self, one: &ServerName, other: &ServerName) -> bool {
        self.state().cut.contains(&pair(one, other))
    }

    fn fate(&self) -> Fate {
        let dice = &self.shared.dice;
        let weather = self.state().weather;
        let delay = || {
            if dice.happens(weather.late) {
                dice.millis(500, 20_000)
            } else {
                dice.millis(1, 40)
            }
        };
        Fate {
            out: delay(),
            back: delay(),
            again: dice
                .happens(weather.repeated)
                .then(|| dice.millis(1, 30_000)),
            request_lost: dice.happens(weather.lost),
            answer_lost: dice.happens(weather.lost),
            hangs_up: dice.happens(50),
        }
    }

    /// Brings a request to where it goes, and the answer back.
    async fn exchange(
        &self,
        origin: &ServerName,
        destination: &ServerName,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Body>> {
        let Shared {
            trace, byzantine, ..
        } = &*self.shared;
        let request = match byzantine {
            Some(byzantine) if byzantine.is(origin) => byzantine.send(destination, request),
            _ => request,
        };
        let fate = self.fate();
        let path = request.uri().path().to_owned();
        let what = digest_of(request.body());
        trace.note(format_args!("{origin} -> {destination} {path} {what}"));
        let unreachable = |why: &str| Error::Unreachable {
            server: destination.to_owned(),
            why: why.to_owned(),
        };
        sleep(fate.out).await;
        if fate.request_lost || (fate.hangs_up && self.is_cut(origin, destination)) {
            return pending().await;
        }
        if self.is_cut(origin, destination) {
            return Err(unreachable("no route"));
        }
        let socket = self.state().servers.get(destination).cloned();
        let socket = socket.filter(|socket| !socket.power.is_cut());
        let socket = socket.ok_or_else(|| unreachable("connection refused"))?;
        if let Some(again) = fate.again {
            let (socket, origin, request) = (socket.clone(), origin.to_owned(), copy(&request));
            tokio::spawn(async move {
                sleep(again).await;
                let _ = socket.serve(&origin, request).await;
            });
        }
        let mut work = Work(socket.serve(origin, request), fate.hangs_up);
        let response = (&mut work.0).await;
        let Ok(Some(response)) = response else {
            return Err(unreachable("connection reset"));
        };
        let response = match byzantine {
            Some(byzantine) if byzantine.is(destination) => byzantine.answer(&path, response),
            _ => response,
        };
        sleep(fate.back).await;
        let status = response.status().as_u16();
        let what = digest_of(response.body());
        trace.note(format_args!(
            "{origin} <- {destination} {path} {status} {what}"
        ));
        if fate.answer_lost {
            return pending().await;
        }
        if self.is_cut(origin, destination) {
            return Err(unreachable("connection lost"));
        }
        Ok(response.map(Body::from))
    }
}

impl Carrier for Wire {
    fn carry<'a>(
        &'a self,
        origin: &'a ServerName,
        destination: &'a ServerName,
        request: http::Request<Bytes>,
    ) -> Carried<'a> {
        Box::pin(async move {
            let exchange = self.network.exchange(origin, destination, request);
            match self.power.during(exchange).await {
                Some(answer) => answer,
                None => pending().await,
            }
        })
    }
}

impl Socket {
    /// Hands a request in. The answer is `None` where power fails meanwhile.
    fn serve(
        &self,
        origin: &ServerName,
        request: http::Request<Bytes>,
    ) -> JoinHandle<Option<http::Response<Bytes>>> {
        let (router, power) = (self.router.clone(), self.power.clone());
        let mut request = request.map(Body::from);
        let peer = PeerIdentity::certified(origin.to_owned());
        request.extensions_mut().insert(peer);
        tokio::spawn(async move {
            let answer = async move {
                let response = match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                let (parts, body) = response.into_parts();
                let body = to_bytes(body, MAX_ANSWER).await.ok()?;
                Some(http::Response::from_parts(parts, body))
            };
            power.during(answer).await.flatten()
        })
    }
}

/// Work on a request. Dropped, it ends where that is so decided.
struct Work(JoinHandle<Option<http::Response<Bytes>>>, bool);

impl Drop for Work {
    fn drop(&mut self) {
        if self.1 {
            self.0.abort();
        }
    }
}

fn pair(one: &ServerName, other: &ServerName) -> (OwnedServerName, OwnedServerName) {
    if one < other {
        (one.to_owned(), other.to_owned())
    } else {
        (other.to_owned(), one.to_owned())
    }
}

fn copy(request: &http::Request<Bytes>) -> http::Request<Bytes> {
    let mut copy = http::Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
