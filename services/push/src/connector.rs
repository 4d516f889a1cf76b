//! Connections to push gateways.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hickory_resolver::TokioResolver;
use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::Service;

use crate::{Config, Error, Result};

/// How long a gateway may take to accept a connection.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Connects to gateways, by TLS where their URL says so.
#[derive(Clone)]
pub(crate) struct Connector {
    shared: Arc<Shared>,
}

impl Connector {
    /// # Errors
    ///
    /// [`Error::Config`] where the gateways' names could not be looked up or their certificates not be checked.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for authority in &config.authorities {
            roots.add(authority.clone()).map_err(|error| {
                Error::Config(format!("an authority of push gateways: {error}"))
            })?;
        }
        let provider = Arc::new(ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Config(format!("TLS: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Without gateways no name is ever looked up.
        let resolver = if config.gateways.is_empty() {
            None
        } else {
            let resolver = TokioResolver::builder_tokio()
                .and_then(hickory_resolver::ResolverBuilder::build)
                .map_err(|error| Error::Config(format!("the system's DNS settings: {error}")))?;
            Some(resolver)
        };
        let mut permitted = config.private_addresses.clone();
        permitted.extend(
            config
                .gateways
                .iter()
                .filter_map(|gateway| gateway.address()),
        );
        Ok(Self {
            shared: Arc::new(Shared {
                tls: TlsConnector::from(Arc::new(tls)),
                resolver,
                permitted,
            }),
        })
    }
}

struct Shared {
    tls: TlsConnector,
    resolver: Option<TokioResolver>,
    /// Addresses that are spoken to though they are private.
    permitted: Vec<IpAddr>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Link>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            timeout(CONNECT_TIME, shared.connect(&uri))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }
}

impl Shared {
    async fn connect(&self, uri: &Uri) -> io::Result<TokioIo<Link>> {
        let is_https = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let addresses = self.addresses(host).await?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no public address");
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(address, port)).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return self.secure(stream, host, is_https).await.map(TokioIo::new);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn secure(&self, stream: TcpStream, host: &str, is_https: bool) -> io::Result<Link> {
        if !is_https {
            return Ok(Link::Plain(stream));
        }
        let name =
            rustls_pki_types::ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = self.tls.connect(name, stream).await?;
        Ok(Link::Tls(Box::new(stream)))
    }

    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found: Vec<IpAddr> = match (host.parse(), &self.resolver) {
            (Ok(address), _) => vec![address],
            (Err(_), Some(resolver)) => {
                let found = resolver.lookup_ip(host).await;
                found.map_err(io::Error::other)?.iter().collect()
            }
            (Err(_), None) => Vec::new(),
        };
        let may_be_used =
            |address: &IpAddr| is_public(*address) || self.permitted.contains(address);
        Ok(found.into_iter().filter(may_be_used).collect())
    }
}

/// Whether an address is one of the public Internet's.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
                || address.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(address) => {
            // All of the public Internet lies in 2000::/3, apart from what is tunnelled or for documents.
            let [a, b, ..] = address.segments();
            (0x2000..0x4000).contains(&a)
                && !(a == 0x2001 && (b < 0x0200 || b == 0x0db8))
                && a != 0x2002
        }
    }
}

/// A connection as the pool takes it.
pub(crate) enum Link {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.20.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "::ffff:10.0.0.1",
            "2001:db8::1",
            "2002:a00:1::",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "158.64.1.1", "2a00:1450::1", "::ffff:1.1.1.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
