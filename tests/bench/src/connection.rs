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
