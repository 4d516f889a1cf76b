//! The listener's side of mutual TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router};
use luxchat_bundle::Leaf;
use luxchat_http::{Accepted, Handshake};
use luxchat_store::Clock;
use metrics::counter;
use ruma::ServerName;
use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, server::TlsStream};
use tracing::{Instrument, debug, info, info_span, warn};

use super::{Connections, ENROLMENT_PROTOCOL, PeerStream, Tls};
use crate::{Membership, PeerIdentity, Result as TlsResult};

/// How long, and for how much, a refused peer is listened to.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

/// Mutual TLS for [`luxchat_http::listen`]: requests bear the [`PeerIdentity`] of their connection, and the connections
/// of a peer that may not federate any more are cut.
#[derive(Clone)]
pub struct MutualTls {
    acceptor: TlsAcceptor,
    connections: Connections,
    membership: Membership,
    clock: Arc<dyn Clock>,
    enrolment: Option<(Arc<ServerConfig>, Router)>,
}

impl std::fmt::Debug for MutualTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MutualTls").finish_non_exhaustive()
    }
}

impl MutualTls {
    pub(crate) fn new(
        tls: &Tls,
        connections: Connections,
        membership: Membership,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            acceptor: TlsAcceptor::from(Arc::clone(&tls.server)),
            connections,
            membership,
            clock,
            enrolment: None,
        }
    }

    /// Lets boxes that have no certificate yet reach `router`, and nothing else.
    ///
    /// # Errors
    ///
    /// When TLS 1.3 is not to be had.
    pub(crate) fn with_enrolment(mut self, tls: &Tls, router: Router) -> TlsResult<Self> {
        self.enrolment = Some((tls.enrolment()?, router));
        Ok(self)
    }

    /// The TLS side of a handshake, and the router for those who asked to be enrolled.
    async fn accept(
        &self,
        connection: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<Router>), (io::Error, Option<TcpStream>)> {
        let Some((enrolment, router)) = &self.enrolment else {
            let accepted = self.acceptor.accept(connection).into_fallible().await;
            return match accepted {
                Ok(stream) => Ok((stream, None)),
                Err((error, connection)) => Err((error, Some(connection))),
            };
        };
        let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), connection);
        let start = match (&mut acceptor).await {
            Ok(start) => start,
            Err(error) => return Err((error, acceptor.take_io())),
        };
        let asks = start
            .client_hello()
            .alpn()
            .is_some_and(|mut protocols| protocols.any(|it| it == ENROLMENT_PROTOCOL));
        let (config, router) = if asks {
            (enrolment, Some(router.clone()))
        } else {
            (self.acceptor.config(), None)
        };
        match start.into_stream(Arc::clone(config)).into_fallible().await {
            Ok(stream) => Ok((stream, router)),
            Err((error, connection)) => Err((error, Some(connection))),
        }
    }

    fn identify(
        &self,
        stream: TlsStream<TcpStream>,
        remote: SocketAddr,
    ) -> io::Result<(PeerIdentity, PeerStream<TlsStream<TcpStream>>)> {
        let chain = stream.get_ref().1.peer_certificates();
        let Some(leaf) = chain.and_then(<[_]>::first) else {
            let peer = PeerIdentity::anonymous().at(remote);
            return Ok((peer, Connections::unregistered(stream)));
        };
        let leaf = Leaf::parse(leaf).map_err(io::Error::other)?;
        let server = ServerName::parse(leaf.server_name.as_str()).map_err(io::Error::other)?;
        let registered = self.connections.register(leaf.clone(), stream);
        // The list may have changed between the handshake and the registration.
        self.membership
            .admit_certificate(&leaf, self.clock.now_ms())
            .map_err(io::Error::other)?;
        Ok((PeerIdentity::certified(server).at(remote), registered))
    }
}

impl Handshake for MutualTls {
    type Stream = PeerStream<TlsStream<TcpStream>>;

    async fn handshake(
        &self,
        connection: TcpStream,
        remote: SocketAddr,
        router: Router,
    ) -> io::Result<Accepted<Self::Stream>> {
        let span = info_span!("handshake", %remote);
        async {
            let (accepted, enrolment) = match self.accept(connection).await {
                Ok(accepted) => accepted,
                Err((error, connection)) => {
                    log_refusal(&error);
                    if let Some(connection) = connection {
                        linger(connection).await;
                    }
                    return Err(error);
                }
            };
            if let Some(router) = enrolment {
                debug!("a box without a certificate asks to be enrolled");
                let stream = Connections::unregistered(accepted);
                return Ok(Accepted {
                    cut: stream.cut(),
                    stream,
                    router,
                });
            }
            let (peer, stream) = self.identify(accepted, remote)?;
            debug!(server = ?peer.server_name(), "a peer is connected");
            counter!("luxchat_federation_handshakes_total", "outcome" => "accepted").increment(1);
            Ok(Accepted {
                cut: stream.cut(),
                stream,
                router: router.layer(Extension(peer)),
            })
        }
        .instrument(span)
        .await
    }
}

/// Lets the alert with the reason reach the peer: closing at once, with something of the peer's unread, could overtake
/// it.
async fn linger(mut connection: TcpStream) {
    let drain = async {
        connection.shutdown().await?;
        let mut unread = connection.take(LINGER_BYTES);
        tokio::io::copy(&mut unread, &mut tokio::io::sink()).await
    };
    // Whatever happens, the connection is closed now.
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// Refused certificates are logged where they are refused. Here comes what did not get that far.
fn log_refusal(error: &io::Error) {
    counter!("luxchat_federation_handshakes_total", "outcome" => "refused").increment(1);
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => {}
        Some(error) => warn!(reason = %error, "a connection is refused"),
        None => info!(reason = %error, "a connection broke off"),
    }
}
