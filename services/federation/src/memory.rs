//! Servers of one process, connected without sockets or TLS.

use std::{
    collections::HashMap,
    fmt::Debug,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use ruma::{OwnedServerName, ServerName};
use tower::ServiceExt;

use crate::{Error, PeerIdentity, Result};

/// Carries requests from one server of this process to another, in place of a network. A simulation decides here what
/// arrives, and when.
pub trait Carrier: Debug + Send + Sync {
    /// Brings a request that `origin` has signed to `destination`, and its answer back.
    fn carry<'a>(
        &'a self,
        origin: &'a ServerName,
        destination: &'a ServerName,
        request: http::Request<Bytes>,
    ) -> Carried<'a>;
}

/// The answer to a request that is under way.
pub type Carried<'a> = Pin<Box<dyn Future<Output = Result<http::Response<Body>>> + Send + 'a>>;

/// A network inside of one process, on which nothing is ever lost or late, for tests: each server's federation routes by its name. A request
/// arrives with the [`PeerIdentity`] that the origin's certificate would give it.
#[derive(Clone, Debug, Default)]
pub struct MemoryNetwork {
    servers: Arc<RwLock<HashMap<OwnedServerName, Router>>>,
}

impl MemoryNetwork {
    /// A network without servers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a server reachable, in place of any other of that name.
    pub fn attach(&self, server_name: OwnedServerName, router: Router) {
        self.servers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(server_name, router);
    }

    /// Makes a server unreachable. Returns its routes, to attach it again.
    pub fn detach(&self, server_name: &ServerName) -> Option<Router> {
        self.servers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(server_name)
    }
}

impl Carrier for MemoryNetwork {
    fn carry<'a>(
        &'a self,
        origin: &'a ServerName,
        destination: &'a ServerName,
        request: http::Request<Bytes>,
    ) -> Carried<'a> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        let router = servers.get(destination).cloned();
        Box::pin(async move {
            let Some(router) = router else {
                return Err(Error::Unreachable {
                    server: destination.to_owned(),
                    why: "not attached".to_owned(),
                });
            };
            let mut request = request.map(Body::from);
            request
                .extensions_mut()
                .insert(PeerIdentity::certified(origin.to_owned()));
            match router.oneshot(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            }
        })
    }
}
