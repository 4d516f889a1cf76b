//! The open connections of each peer, so that they can be closed when it may not federate any more.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use luxchat_bundle::Leaf;
use luxchat_store::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::info;

use crate::Membership;

/// All open connections to and from members. Clones share the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    shared: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_id: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    leaf: Leaf,
    cut: CancellationToken,
}

impl Connections {
    /// Wraps a connection whose peer showed `leaf`. It fails as soon as it is cut.
    pub(crate) fn register<S>(&self, leaf: Leaf, stream: S) -> PeerStream<S> {
        let cut = CancellationToken::new();
        let mut open = self.open();
        let id = open.next;
        open.next += 1;
        let token = cut.clone();
        open.by_id.insert(id, Connection { leaf, cut: token });
        drop(open);
        PeerStream {
            stream,
            is_cut: Box::pin(cut.clone().cancelled_owned()),
            cut,
            _listed: Some(Listed {
                id,
                connections: self.clone(),
            }),
        }
    }

    /// Wraps a connection whose peer showed no certificate of the nation.
    pub(crate) fn unregistered<S>(stream: S) -> PeerStream<S> {
        let cut = CancellationToken::new();
        PeerStream {
            stream,
            is_cut: Box::pin(cut.clone().cancelled_owned()),
            cut,
            _listed: None,
        }
    }

    /// How many stand.
    pub(crate) fn count(&self) -> usize {
        self.open().by_id.len()
    }

    /// Closes the connections of everyone who may not federate any more.
    pub(crate) fn close_denied(&self, membership: &Membership, clock: &dyn Clock) {
        let now_ms = clock.now_ms();
        for connection in self.open().by_id.values() {
            if connection.cut.is_cancelled() {
                continue;
            }
            if let Err(reason) = membership.admit_certificate(&connection.leaf, now_ms) {
                info!(server = %connection.leaf.server_name, %reason, "a connection is closed");
                connection.cut.cancel();
            }
        }
    }

    /// The certificates of those connected, each once, by server name.
    pub(crate) fn leaves(&self) -> Vec<Leaf> {
        let open = self.open();
        let mut leaves: Vec<Leaf> = open
            .by_id
            .values()
            .map(|connection| connection.leaf.clone())
            .collect();
        leaves.sort_by(|a, b| {
            a.server_name
                .cmp(&b.server_name)
                .then(a.serial.cmp(&b.serial))
        });
        leaves.dedup_by(|a, b| a.serial == b.serial);
        leaves
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to or from another server.
#[derive(Debug)]
pub struct PeerStream<S> {
    stream: S,
    cut: CancellationToken,
    is_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _listed: Option<Listed>,
}

/// The entry of a connection in the list, as long as the connection lives.
#[derive(Debug)]
struct Listed {
    id: u64,
    connections: Connections,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.connections.open().by_id.remove(&self.id);
    }
}

impl<S> PeerStream<S> {
    /// Cuts the connection when cancelled.
    pub(crate) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    fn check_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.is_cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the peer may not federate any more",
            )),
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PeerStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PeerStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
