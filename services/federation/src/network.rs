//! HTTP to other servers: a pool of connections by server name, HTTP/2 where the server speaks it.

mod connector;
mod discovery;
mod well_known;

use std::{error::Error as _, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::{
    client::legacy::{self, Error as PoolError},
    rt::{TokioExecutor, TokioTimer},
};
use ruma::ServerName;

use self::{
    connector::{Connector, Refusal},
    discovery::Addresses,
};
use crate::{
    Config, Error, Membership, Result,
    tls::{Connections, Tls},
};

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(90);

/// Unused HTTP/1.1 connections kept per server; one is enough for HTTP/2.
const IDLE_PER_SERVER: usize = 8;

/// How often a quiet HTTP/2 connection is asked whether it still lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Connections to other servers.
#[derive(Debug)]
pub(crate) struct Network {
    pool: legacy::Client<Connector, Full<Bytes>>,
    addresses: Addresses,
}

impl Network {
    pub(crate) fn new(
        tls: Tls,
        connections: Connections,
        membership: Membership,
        config: &Config,
    ) -> Result<Self> {
        let addresses = Addresses::new(membership, &tls, config)?;
        let connector = Connector::new(tls, connections, addresses.clone(), config.connect_timeout);
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_SERVER)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_adaptive_window(true)
            .build(connector);
        Ok(Self { pool, addresses })
    }

    /// Sends a request to `https://<destination>/...` and returns the head of the answer, its body to be read.
    pub(crate) async fn send(
        &self,
        destination: &ServerName,
        mut request: http::Request<Bytes>,
    ) -> Result<http::Response<Body>> {
        // Where the server has delegated its name, the host it delegated to is addressed.
        if let Some(authority) = self.addresses.delegated(destination).await? {
            let mut uri = request.uri().clone().into_parts();
            uri.authority = Some(authority);
            *request.uri_mut() =
                Uri::from_parts(uri).map_err(|error| Error::InvalidRequest(error.to_string()))?;
        }
        let response = self.pool.request(request.map(Full::new)).await;
        let response = response.map_err(|error| unreachable(destination, &error))?;
        Ok(response.map(Body::new))
    }
}

/// Reads an answer of at most `limit` bytes.
pub(crate) async fn read(
    destination: &ServerName,
    response: http::Response<Body>,
    limit: usize,
) -> Result<http::Response<Bytes>> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, limit).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return Error::TooLarge {
                server: destination.to_owned(),
                limit,
            };
        }
        Error::Unreachable {
            server: destination.to_owned(),
            why: format!("the answer broke off: {error}"),
        }
    })?;
    Ok(http::Response::from_parts(parts, body.to_bytes()))
}

/// What the connector said, or the innermost reason that the pool gives.
fn unreachable(destination: &ServerName, error: &PoolError) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    let mut why = error.to_string();
    while let Some(inner) = cause {
        if let Some(refusal) = inner.downcast_ref::<Refusal>() {
            return refusal.0.clone();
        }
        why = inner.to_string();
        cause = inner.source();
    }
    Error::Unreachable {
        server: destination.to_owned(),
        why,
    }
}
