//! Signed requests to other servers.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use luxchat_store::Clock;
use ruma::{
    ServerName,
    api::{
        IncomingResponseExt, OutgoingRequest, OutgoingRequestExt,
        auth_scheme::{AuthScheme, NoAuthentication},
        error::FromHttpResponseError,
        federation::authentication::{ServerSignatures, XMatrixSigningInput},
        path_builder::{PathBuilder, SinglePath},
    },
};
use serde_json::value::RawValue;

use crate::{
    Carrier, Config, Denial, Error, Identity, Membership, Result,
    network::{Network, read},
};

/// The largest answers of endpoints that tell of many things, and of those that tell of one, in bytes. A peer that answers
/// with more is not listened to any longer.
const MAX_LIST: usize = 16 * 1024 * 1024;
const MAX_SINGLE: usize = 1024 * 1024;

/// The largest error answer to a request for something large, in bytes.
const MAX_REFUSAL: usize = 64 * 1024;

/// How an endpoint authenticates, where servers speak to servers.
pub trait FederationAuth: AuthScheme {
    /// What the scheme signs with.
    fn input(signing: XMatrixSigningInput<'_>) -> Self::Input<'_>;
}

impl FederationAuth for ServerSignatures {
    fn input(signing: XMatrixSigningInput<'_>) -> Self::Input<'_> {
        signing
    }
}

impl FederationAuth for NoAuthentication {
    fn input(_: XMatrixSigningInput<'_>) -> Self::Input<'_> {}
}

/// How an endpoint's path is chosen: federation paths bear their version.
pub trait FederationPath: PathBuilder {
    /// What the builder chooses by.
    fn input() -> Self::Input<'static>;
}

impl FederationPath for SinglePath {
    fn input() -> Self::Input<'static> {}
}

/// Asks other servers, as this one.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    identity: Arc<Identity>,
    membership: Membership,
    clock: Arc<dyn Clock>,
    transport: Transport,
    request_timeout: Duration,
    long_request_timeout: Duration,
    max_response: usize,
}

/// How requests travel.
#[derive(Debug)]
pub(crate) enum Transport {
    /// By mutual TLS.
    Network(Box<Network>),
    /// Between servers of this process.
    Memory(Box<dyn Carrier>),
    /// Not at all: every other server is unreachable.
    None,
}

impl Client {
    pub(crate) fn new(
        identity: Arc<Identity>,
        membership: Membership,
        clock: Arc<dyn Clock>,
        transport: Transport,
        config: &Config,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                identity,
                membership,
                clock,
                transport,
                request_timeout: config.request_timeout,
                long_request_timeout: config.long_request_timeout,
                max_response: config.max_response,
            }),
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.shared.membership
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    /// Whether `server` may federate now.
    pub(crate) fn admit(&self, server: &ServerName) -> Result<(), Denial> {
        let now_ms = self.shared.clock.now_ms();
        self.shared.membership.admit(server, now_ms)
    }

    /// Asks `destination`, signing the request as this server.
    pub(crate) async fn request<T>(
        &self,
        destination: &ServerName,
        request: T,
    ) -> Result<T::IncomingResponse>
    where
        T: OutgoingRequest<EndpointError = ruma::api::error::Error>,
        T::Authentication: FederationAuth,
        T::PathBuilder: FederationPath,
    {
        let request = self.sign(destination, request)?;
        let response = self.exchange(destination, request).await?;
        parse::<T>(destination, &response)
    }

    /// Sends one request and reads the whole answer, whatever its status.
    pub(crate) async fn exchange(
        &self,
        destination: &ServerName,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>> {
        self.check(destination)?;
        let shared = &self.shared;
        let (path, most) = (request.uri().path(), shared.max_response);
        let timeout = if takes_long(path) {
            shared.long_request_timeout
        } else {
            shared.request_timeout
        };
        let limit = largest_answer(path, most);
        let answer = async {
            let response = self.send(destination, request).await?;
            read(destination, response, limit).await
        };
        tokio::time::timeout(timeout, answer)
            .await
            .unwrap_or_else(|_| Err(Error::Timeout(destination.to_owned())))
    }

    /// Asks `destination`, and returns an answer that is a success with its body still to be read.
    pub(crate) async fn open<T>(
        &self,
        destination: &ServerName,
        request: T,
    ) -> Result<http::Response<Body>>
    where
        T: OutgoingRequest<EndpointError = ruma::api::error::Error>,
        T::Authentication: FederationAuth,
        T::PathBuilder: FederationPath,
    {
        let request = self.sign(destination, request)?;
        self.check(destination)?;
        let answer = async {
            let response = self.send(destination, request).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let refusal = read(destination, response, MAX_REFUSAL).await?;
            Err(parse::<T>(destination, &refusal)
                .err()
                .unwrap_or_else(|| Error::InvalidResponse {
                    server: destination.to_owned(),
                    why: format!("status {}", refusal.status()),
                }))
        };
        tokio::time::timeout(self.shared.request_timeout, answer)
            .await
            .unwrap_or_else(|_| Err(Error::Timeout(destination.to_owned())))
    }

    fn check(&self, destination: &ServerName) -> Result<()> {
        self.admit(destination).map_err(|reason| Error::Denied {
            server: destination.to_owned(),
            reason,
        })
    }

    async fn send(
        &self,
        destination: &ServerName,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Body>> {
        let shared = &self.shared;
        match &shared.transport {
            Transport::Network(network) => network.send(destination, request).await,
            Transport::Memory(carrier) => {
                let origin = shared.identity.server_name();
                carrier.carry(origin, destination, request).await
            }
            Transport::None => Err(Error::NoAddress(destination.to_owned())),
        }
    }

    fn sign<T>(&self, destination: &ServerName, request: T) -> Result<http::Request<Bytes>>
    where
        T: OutgoingRequest,
        T::Authentication: FederationAuth,
        T::PathBuilder: FederationPath,
    {
        let identity = &self.shared.identity;
        let signing = XMatrixSigningInput::new(
            identity.server_name().to_owned(),
            destination.to_owned(),
            identity.signing_key(),
        );
        request
            .try_into_http_request::<BytesMut>(
                &format!("https://{destination}"),
                T::Authentication::input(signing),
                T::PathBuilder::input(),
            )
            .map(|request| request.map(BytesMut::freeze))
            .map_err(|error| Error::InvalidRequest(error.to_string()))
    }
}

/// Whether other servers answer only after real work: taking in events, or collecting a room's whole state.
fn takes_long(path: &str) -> bool {
    matches!(
        endpoint(path),
        Some("send" | "send_join" | "state" | "state_ids" | "event_auth")
    )
}

/// How large the answer of an endpoint may be where `most` is the largest of all.
fn largest_answer(path: &str, most: usize) -> usize {
    let limit = match endpoint(path) {
        Some("send_join" | "state" | "state_ids" | "event_auth") => most,
        Some("make_join" | "make_knock" | "make_leave" | "event" | "version" | "openid") => {
            MAX_SINGLE
        }
        Some(_) => MAX_LIST,
        None => MAX_SINGLE,
    };
    limit.min(most)
}

/// The first word that names an endpoint between servers.
fn endpoint(path: &str) -> Option<&str> {
    path.strip_prefix("/_matrix/federation/v1/")
        .or_else(|| path.strip_prefix("/_matrix/federation/v2/"))
        .and_then(|rest| rest.split('/').next())
}

fn parse<T>(
    destination: &ServerName,
    response: &http::Response<Bytes>,
) -> Result<T::IncomingResponse>
where
    T: OutgoingRequest<EndpointError = ruma::api::error::Error>,
{
    let understand = |body: &[u8]| {
        let mut view = http::Response::new(body);
        *view.status_mut() = response.status();
        *view.headers_mut() = response.headers().clone();
        T::IncomingResponse::try_from_http_response(view)
    };
    let mut answer = understand(response.body());
    if let Err(FromHttpResponseError::Deserialization(_)) = &answer
        && let Some(body) = without_nulls(response.body())
    {
        answer = understand(&body);
    }
    answer.map_err(|error| match error {
        FromHttpResponseError::Server(error) => Error::Refused {
            server: destination.to_owned(),
            error: error.into(),
        },
        other => Error::InvalidResponse {
            server: destination.to_owned(),
            why: other.to_string(),
        },
    })
}

/// The fields of an answer without those that are null: some servers write these for what they leave out. `None` where
/// there are none.
fn without_nulls(body: &[u8]) -> Option<Vec<u8>> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body).ok()?;
    let count = fields.len();
    fields.retain(|_, value| value.get() != "null");
    (fields.len() < count)
        .then(|| serde_json::to_vec(&fields).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::{MAX_LIST, MAX_SINGLE, largest_answer, takes_long, without_nulls};

    #[test]
    fn what_is_null_is_left_out() {
        let body = br#"{ "device_keys": { "a": null }, "master_keys": null }"#;
        let fields = without_nulls(body).unwrap();
        assert_eq!(fields, br#"{"device_keys":{ "a": null }}"#);
        assert!(without_nulls(&fields).is_none());
        assert!(without_nulls(b"[]").is_none());
    }

    #[test]
    fn work_is_given_time() {
        assert!(takes_long("/_matrix/federation/v1/send/txn"));
        assert!(takes_long("/_matrix/federation/v2/send_join/!room/$event"));
        assert!(!takes_long(
            "/_matrix/federation/v1/make_join/!room/@user:x"
        ));
        assert!(!takes_long("/_matrix/key/v2/server"));
    }

    #[test]
    fn only_a_room_may_be_as_large_as_an_answer_gets() {
        let most = 100 * MAX_SINGLE;
        for (path, limit) in [
            ("/_matrix/federation/v2/send_join/!room/$event", most),
            ("/_matrix/federation/v1/state/!room", most),
            ("/_matrix/federation/v1/event/$event", MAX_SINGLE),
            ("/_matrix/federation/v1/backfill/!room", MAX_LIST),
            ("/_matrix/federation/unstable/org/thing", MAX_SINGLE),
            ("/_matrix/key/v2/server", MAX_SINGLE),
        ] {
            assert_eq!(largest_answer(path, most), limit, "{path}");
        }
        assert_eq!(largest_answer("/_matrix/federation/v1/state/!r", 5), 5);
    }
}
