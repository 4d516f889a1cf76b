//! One keep-alive HTTP/1.1 connection to the server under test.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
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
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target,
            sender: None,
        }
    }

    /// Sends one request and returns the whole body of a 2xx response.
    pub(crate) async fn request(
        &mut self,
        method: Method,
        path: &str,
        authorization: Option<&HeaderValue>,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        let (status, body) = self.exchange(method, path, authorization, body).await?;
        if status.is_success() {
            return Ok(body);
        }
        let errcode = serde_json::from_slice::<MatrixError>(&body)
            .unwrap_or_default()
            .errcode;
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
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.target.host)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::new(body))
            .expect("paths are built from percent-encoded parts, so the request is valid");

        let exchange = async {
            let response = self.open().await?.send_request(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_RESPONSE_BYTES)
                .collect()
                .await
                .map_err(|_| Failure::Body)?;
            Ok((head.status, body.to_bytes()))
        };
        let result = tokio::time::timeout(REQUEST_TIMEOUT, exchange).await;
        let result = result.unwrap_or(Err(Failure::TimedOut));
        if result.is_err() {
            // What is left of the exchange must not be read as the answer to the next request.
            self.sender = None;
        }
        result
    }

    async fn open(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Failure> {
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
