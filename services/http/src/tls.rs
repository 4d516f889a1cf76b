//! TLS for those who show no certificate: the clients' listener.

use std::{io, net::SocketAddr, sync::Arc};

use axum::Router;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::listener::{Accepted, Handshake};

/// TLS 1.2 and 1.3 with one certificate.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// TLS with a certificate chain and its key.
    ///
    /// # Errors
    ///
    /// When the key does not fit the certificate, or is of a kind that is not supported.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

impl Handshake for Tls {
    type Stream = TlsStream<TcpStream>;

    async fn handshake(
        &self,
        connection: TcpStream,
        _: SocketAddr,
        router: Router,
    ) -> io::Result<Accepted<Self::Stream>> {
        let stream = self.0.accept(connection).await?;
        Ok(Accepted {
            stream,
            router,
            cut: CancellationToken::new(),
        })
    }
}
