//! Serving a socket: connections within limits, handshakes and headers that must come in time, a stop that lets requests
//! end. What a connection is (plain, TLS, mutual TLS) is decided by a [`Handshake`].

#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::{
    opening::Opening,
    shares::{Shares, network_of},
};

/// What is read ahead of a connection, and what waits to be sent on it, in bytes: many slow downloads at a time must not
/// take much memory. A request's head fits into it.
const MAX_BUFFER: usize = 64 * 1024;

/// How a listener treats those who connect.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// Connections at a time; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Connections at a time from one address, or one IPv6 network; more are closed at once. Those from this machine do
    /// not count: a reverse proxy speaks for many.
    pub max_per_address: usize,
    /// How long a handshake may take.
    pub handshake_time: Duration,
    /// How long a client may take to send the head of a request, and how long a connection may idle before one.
    pub header_time: Duration,
    /// How long requests may go on once the listener stops.
    pub grace: Duration,
}

impl Default for Listening {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            max_per_address: 5_000,
            handshake_time: Duration::from_secs(10),
            header_time: Duration::from_mins(1),
            grace: Duration::from_secs(8),
        }
    }
}

/// The address a connection came from; in the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteAddress(pub SocketAddr);

/// What happens between accepting a connection and speaking HTTP on it.
pub trait Handshake: Clone + Send + Sync + 'static {
    /// What HTTP is spoken on.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Takes the connection on. The router returned serves it: the listener's own, with what is known of the peer in its
    /// extensions. The token, when cancelled, closes the connection.
    fn handshake(
        &self,
        connection: TcpStream,
        remote: SocketAddr,
        router: Router,
    ) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send;
}

/// A connection that HTTP can be spoken on.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The connection.
    pub stream: S,
    /// What serves it.
    pub router: Router,
    /// Closes it at once when cancelled.
    pub cut: CancellationToken,
}

/// No handshake: plain HTTP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Handshake for Plain {
    type Stream = TcpStream;

    async fn handshake(
        &self,
        stream: TcpStream,
        _: SocketAddr,
        router: Router,
    ) -> io::Result<Accepted<TcpStream>> {
        Ok(Accepted {
            stream,
            router,
            cut: CancellationToken::new(),
        })
    }
}

/// Serves connections until `stop` is cancelled, and then until those at work have ended or the grace is over.
pub async fn listen<H: Handshake>(
    listener: TcpListener,
    handshake: H,
    router: Router,
    listening: Listening,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(listening.max_connections));
    let shares = Shares::new(listening.max_per_address);
    let connections = TaskTracker::new();
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (Ok(place), Ok((connection, remote))) = (
            place,
            accepted.inspect_err(|error| {
                warn!(%error, "a connection could not be accepted");
            }),
        ) else {
            // Out of file descriptors, most likely: some must close first.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let is_counted = !remote.ip().to_canonical().is_loopback();
        let share = is_counted.then(|| shares.take(network_of(remote.ip())));
        if let Some(None) = share {
            debug!(%remote, "an address has too many connections");
            continue;
        }
        let (handshake, router, stop) = (handshake.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            serve(connection, remote, handshake, router, listening, stop).await;
            drop((place, share));
        });
    }
    drop(listener);
    connections.close();
    if timeout(listening.grace, connections.wait()).await.is_err() {
        debug!(left = connections.len(), "connections cut off");
    }
}

async fn serve<H: Handshake>(
    connection: TcpStream,
    remote: SocketAddr,
    handshake: H,
    router: Router,
    listening: Listening,
    stop: CancellationToken,
) {
    // Small answers must not wait for more; a socket that refuses the option still works.
    let _ = connection.set_nodelay(true);
    let Accepted {
        stream,
        router,
        cut,
    } = match timeout(
        listening.handshake_time,
        handshake.handshake(connection, remote, router),
    )
    .await
    {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => return debug!(%remote, %error, "handshake refused"),
        Err(_) => return debug!(%remote, "handshake took too long"),
    };
    let service =
        TowerToHyperService::new(router.map_request(move |mut request: http::Request<_>| {
            request.extensions_mut().insert(RemoteAddress(remote));
            request
        }));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .max_buf_size(MAX_BUFFER)
        .timer(TokioTimer::new())
        .header_read_timeout(listening.header_time);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(listening.header_time)
        .keep_alive_timeout(listening.header_time)
        .max_concurrent_streams(256)
        .max_send_buf_size(MAX_BUFFER)
        .max_header_list_size(64 * 1024);
    let stream = TokioIo::new(Opening::new(stream, listening.header_time));
    let connection = builder.serve_connection(stream, service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = cut.cancelled() => return debug!(%remote, "connection cut"),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection.as_mut() => outcome,
                () = sleep(listening.grace) => return,
            }
        }
    };
    if let Err(error) = outcome {
        debug!(%remote, %error, "connection ended");
    }
}
