//! A connection that must begin to speak.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// The connection preface of HTTP/2. Until as many bytes have come, the server may not know which version it is spoken
/// to in, and none of HTTP's own limits of time counts yet.
const OPENING_BYTES: usize = 24;

/// Fails reads once the opening bytes have taken too long.
pub(crate) struct Opening<S> {
    stream: S,
    missing: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Opening<S> {
    /// The opening bytes must come within `time`.
    pub(crate) fn new(stream: S, time: Duration) -> Self {
        Self {
            stream,
            missing: OPENING_BYTES,
            deadline: Box::pin(sleep(time)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.missing == 0 {
            return read;
        }
        this.missing = this.missing.saturating_sub(buf.filled().len() - before);
        if read.is_pending() && this.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::timeout,
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Listening, Plain, listen};

    /// What a listener that waits so long for heads answers to these bytes, if the peer then says no more.
    async fn answer_to(opening: &[u8], header_time: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listening = Listening {
            header_time,
            ..Listening::default()
        };
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(async || "here"));
        tokio::spawn(listen(listener, Plain, router, listening, stop.clone()));
        let _stop = stop.drop_guard();
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(opening).await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(20), peer.read_to_end(&mut answer))
            .await
            .expect("the connection stays open for ever")
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn who_says_nothing_or_never_ends_is_cut_off() {
        for opening in [
            &b""[..],
            b"PRI * HTTP/2.0\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow:",
        ] {
            let answer = answer_to(opening, Duration::from_millis(50)).await;
            assert!(!answer.contains("here"), "{answer}");
        }
    }

    #[tokio::test]
    async fn who_speaks_is_answered() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answer = answer_to(request, Duration::from_mins(1)).await;
        assert!(answer.contains("here"), "{answer}");
    }
}
