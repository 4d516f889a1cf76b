//! Connections for the pool.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use luxchat_bundle::Leaf;
use ruma::{OwnedServerName, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::Service;
use tracing::debug;

use super::discovery::{Addresses, Target};
use crate::{
    Error,
    tls::{Connections, PeerStream, Tls},
};

/// Connects to the server that a URI's authority names.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tls: Tls,
    connections: Connections,
    addresses: Addresses,
    timeout: Duration,
}

/// Why there is no connection, on its way through the pool.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) Error);

impl Connector {
    pub(super) fn new(
        tls: Tls,
        connections: Connections,
        addresses: Addresses,
        timeout: Duration,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                tls,
                connections,
                addresses,
                timeout,
            }),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Link;
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<Link, Refusal>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.connect(&uri).await.map_err(Refusal) })
    }
}

impl Shared {
    /// Tries the server's addresses in their order.
    async fn connect(&self, uri: &Uri) -> Result<Link, Error> {
        let authority = uri.authority().map(http::uri::Authority::as_str);
        let server = ServerName::parse(authority.unwrap_or_default())
            .map_err(|error| Error::InvalidRequest(error.to_string()))?;
        let targets = self.addresses.of(&server).await?;
        let mut last = Error::NoAddress(server.clone());
        for target in targets {
            let attempt = self.connect_to(&server, &target);
            match tokio::time::timeout(self.timeout, attempt).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => last = unreachable(&server, &target, &error.to_string()),
                Err(_) => last = unreachable(&server, &target, "no connection in time"),
            }
            debug!(error = %last, "an address does not answer");
        }
        Err(last)
    }

    async fn connect_to(&self, server: &OwnedServerName, target: &Target) -> io::Result<Link> {
        let addresses = self.addresses.resolve(target).await?;
        let stream = connect_any(&addresses).await?;
        stream.set_nodelay(true)?;
        let name = rustls_pki_types::ServerName::try_from(target.certificate_name.clone())
            .map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls.client));
        let stream = connector.connect(name, stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let leaf = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first)
            .and_then(|der| Leaf::parse(der).ok())
            .filter(|leaf| leaf.server_name.as_str() == server.as_str());
        let stream = match leaf {
            Some(leaf) => self.connections.register(leaf, stream),
            None => Connections::unregistered(stream),
        };
        debug!(%server, address = %target, "connected");
        Ok(Link {
            stream: TokioIo::new(stream),
            is_http2,
        })
    }
}

async fn connect_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn unreachable(server: &ServerName, target: &Target, why: &str) -> Error {
    Error::Unreachable {
        server: server.to_owned(),
        why: format!("{target}: {why}"),
    }
}

/// A connection as the pool takes it.
#[derive(Debug)]
pub(super) struct Link {
    stream: TokioIo<PeerStream<TlsStream<TcpStream>>>,
    is_http2: bool,
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        if self.is_http2 {
            Connected::new().negotiated_h2()
        } else {
            Connected::new()
        }
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
