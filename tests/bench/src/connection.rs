//! One keep-alive HTTP/1.1 connection to the server under test.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header, request::Builder};
use http_body_util::{BodyExt, Limited};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::target::Target;

/// Longer than any long poll the scenarios ask for; a server that takes longer has failed the request.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// Why a request did not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("no response within {} s", REQUEST_TIMEOUT.as_secs())]
    TimedOut,
    #[error("{status} {errcode}")]
    Refused { status: StatusCode, errcode: String },
    #[error("response body too long or cut short")]
    Body,
    #[error("response is not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("response lacks {0}")]
    Incomplete(&'static str),
}

/// A connection that is opened on first use and opened again when the server has closed it.
#[derive(Debug)]
pub(crate) struct Connection {
    target: Target,
    sender: Option<SendRequest<Payload>>,
}

/// A request body in two parts: a large one may be shared by many requests and still be another body in each.
#[derive(Clone, Debug)]
pub(crate) struct Payload(pub(crate) [Bytes; 2]);

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self([bytes, Bytes::new()])
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.iter_mut().find(|part| !part.is_empty());
        Poll::Ready(next.map(|part| Ok(Frame::data(std::mem::take(part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}

impl Connection {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target,
            sender: None,
        }
    }

    /// Closes the connection until the next request.
    pub(crate) fn close(&mut self) {
        self.sender = None;
    }

    /// Sends one request and returns the whole body of a 2xx response.
    pub(crate) async fn request(
        &mut self,
        method: Method,
        path: &str,
        authorization: Option<&HeaderValue>,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        let exchange = self.exchange(method, path, authorization, body).await?;
        accepted(exchange)
    }

    /// Uploads a file and returns the whole body of a 2xx response.
    pub(crate) async fn upload(
        &mut self,
        path: &str,
        authorization: &HeaderValue,
        content_type: &str,
        file: Payload,
    ) -> Result<Bytes, Failure> {
        let request = self
            .head(Method::POST, path, Some(authorization))
            .header(header::CONTENT_TYPE, content_type);
        let exchange = self.send(request, file, collect).await?;
        accepted(exchange)
    }

    /// Downloads a file and returns how long it is: keeping it would cost more than it cost the server.
    pub(crate) async fn download(
        &mut self,
        path: &str,
        authorization: &HeaderValue,
    ) -> Result<u64, Failure> {
        let request = self.head(Method::GET, path, Some(authorization));
        let empty = Payload::from(Bytes::new());
        let (status, length) = self.send(request, empty, discard).await?;
        if status.is_success() {
            return Ok(length);
        }
        let errcode = String::new();
        Err(Failure::Refused { status, errcode })
    }

    /// Sends one request and returns status and body, whatever the status.
    pub(crate) async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        authorization: Option<&HeaderValue>,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let request = self
            .head(method, path, authorization)
            .header(header::CONTENT_TYPE, "application/json");
        self.send(request, body.into(), collect).await
    }

    fn head(&self, method: Method, path: &str, authorization: Option<&HeaderValue>) -> Builder {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.target.host);
        match authorization {
            Some(authorization) => request.header(header::AUTHORIZATION, authorization),
            None => request,
        }
    }

    async fn send<T>(
        &mut self,
        request: Builder,
        body: Payload,
        read: impl AsyncFnOnce(Incoming) -> Result<T, Failure>,
    ) -> Result<(StatusCode, T), Failure> {
        let request = request
            .body(body)
            .expect("paths are built from percent-encoded parts, so the request is valid");
        let exchange = async {
            let response = self.open().await?.send_request(request).await?;
            let (head, body) = response.into_parts();
            Ok((head.status, read(body).await?))
        };
        let result = tokio::time::timeout(REQUEST_TIMEOUT, exchange).await;
        let result = result.unwrap_or(Err(Failure::TimedOut));
        if result.is_err() {
            // What is left of the exchange must not be read as the answer to the next request.
            self.close();
        }
        result
    }

    async fn open(&mut self) -> Result<&mut SendRequest<Payload>, Failure> {
        let usable = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let stream = TcpStream::connect(self.target.address)
                .await
                .map_err(Failure::Connect)?;
            stream.set_nodelay(true).map_err(Failure::Connect)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Ends by itself when the sender is dropped or the server closes; errors reach the sender.
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        self.sender
            .as_mut()
            .ok_or(Failure::Incomplete("a connection"))
    }
}

/// The body of a 2xx response.
fn accepted((status, body): (StatusCode, Bytes)) -> Result<Bytes, Failure> {
    if status.is_success() {
        return Ok(body);
    }
    let errcode = serde_json::from_slice::<MatrixError>(&body)
        .unwrap_or_default()
        .errcode;
    Err(Failure::Refused { status, errcode })
}

async fn collect(body: Incoming) -> Result<Bytes, Failure> {
    let body = Limited::new(body, MAX_RESPONSE_BYTES);
    let body = body.collect().await.map_err(|_| Failure::Body)?;
    Ok(body.to_bytes())
}

async fn discard(mut body: Incoming) -> Result<u64, Failure> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::Body)?;
        length += frame.data_ref().map_or(0, Bytes::len) as u64;
    }
    Ok(length)
}

#[derive(Default, Deserialize)]
struct MatrixError {
    #[serde(default)]
    errcode: String,
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    const LIMITED: &str = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 30\r\n\r\n\
                           {\"errcode\":\"M_LIMIT_EXCEEDED\"}";
    const CUT_SHORT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n{";

    /// A server that answers each connection with its list of responses, then closes it.
    async fn serve(connections: Vec<Vec<&'static str>>) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for responses in connections {
                let (mut stream, _) = listener.accept().await.unwrap();
                for response in responses {
                    // Requests without a body end with an empty line, and come one by one.
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(stream.read_u8().await.unwrap());
                    }
                    stream.write_all(response.as_bytes()).await.unwrap();
                }
            }
        });
        let target = Target::resolve(&format!("http://{address}"), false).unwrap();
        Connection::new(target)
    }

    async fn get(connection: &mut Connection) -> Result<Bytes, Failure> {
        connection
            .request(Method::GET, "/", None, Bytes::new())
            .await
    }

    #[tokio::test]
    async fn keeps_a_connection_and_opens_another_when_it_is_closed() {
        let mut connection = serve(vec![vec![OK, OK], vec![OK]]).await;
        assert_eq!(get(&mut connection).await.unwrap(), "{}");
        assert_eq!(get(&mut connection).await.unwrap(), "{}");
        // The close may be noticed only by the request that meets it; it costs that one request at most.
        let third = get(&mut connection).await;
        if third.is_err() {
            get(&mut connection).await.unwrap();
        }
    }

    #[tokio::test]
    async fn names_a_refusal_by_status_and_error_code() {
        let mut connection = serve(vec![vec![LIMITED]]).await;
        let failure = get(&mut connection).await.unwrap_err().to_string();
        assert_eq!(failure, "429 Too Many Requests M_LIMIT_EXCEEDED");
    }

    #[tokio::test]
    async fn does_not_take_half_an_answer() {
        let mut connection = serve(vec![vec![CUT_SHORT], vec![OK]]).await;
        assert!(matches!(get(&mut connection).await, Err(Failure::Body)));
        assert_eq!(get(&mut connection).await.unwrap(), "{}");
    }
}
