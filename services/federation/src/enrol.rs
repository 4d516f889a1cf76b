//! How a box that has a voucher and no certificate yet asks the directory for one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use luxchat_bundle::Endpoint;
use luxchat_store::Clock;
use ruma::ServerName;
use rustls_pki_types::ServerName as TlsName;
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tracing::debug;

use crate::{
    EnrolledDirectory, Error, Result,
    repository::list_of,
    tls::{ENROLMENT_PROTOCOL, anonymous_client},
};

/// Where the directory takes vouchers.
const PATH: &str = "/_luxchat/directory/v1/enrolment";

/// How long one address of the directory may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 2 * 1024 * 1024;

/// Why a voucher brought no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The directory does not take it, in the directory's words.
    #[error("the directory does not enrol this box: {0}")]
    Refused(String),
    /// The directory could not be asked.
    #[error(transparent)]
    Unasked(#[from] Error),
}

/// Takes a voucher with its request to the directory, and returns its answer. The directory must show a certificate for its
/// name by the authority; this side shows none.
///
/// # Errors
///
/// [`EnrolError::Refused`] in the directory's words; otherwise why the directory cannot be reached.
pub async fn enrol(
    directory: EnrolledDirectory,
    asked: Vec<u8>,
    clock: Arc<dyn Clock>,
) -> Result<Vec<u8>, EnrolError> {
    let pointer = directory.pointer.clone();
    let server = ServerName::parse(pointer.server_name.as_str())
        .map_err(|error| Error::Config(format!("the directory: {error}")))?;
    let now = i64::try_from(clock.now_ms()).unwrap_or(i64::MAX);
    let now = jiff::Timestamp::from_millisecond(now).unwrap_or(jiff::Timestamp::MAX);
    let list = list_of(directory, now)?;
    let tls = TlsConnector::from(anonymous_client(list, clock)?);
    let body = Bytes::from(asked);
    let mut last = Error::NoAddress(server.clone());
    for endpoint in &pointer.endpoints {
        let attempt = ask(&server, endpoint, &tls, body.clone());
        let outcome = timeout(TIMEOUT, attempt)
            .await
            .unwrap_or_else(|_| Err(Error::Timeout(server.clone()).into()));
        match outcome {
            Err(EnrolError::Unasked(error)) if error.is_passing() => {
                debug!(%endpoint, %error, "the directory does not answer here");
                last = error;
            }
            outcome => return outcome,
        }
    }
    Err(last.into())
}

async fn ask(
    server: &ServerName,
    endpoint: &Endpoint,
    tls: &TlsConnector,
    body: Bytes,
) -> Result<Vec<u8>, EnrolError> {
    let unreachable = |why: String| Error::Unreachable {
        server: server.to_owned(),
        why,
    };
    let name = TlsName::try_from(server.as_str().to_owned())
        .map_err(|error| Error::Config(format!("the directory: {error}")))?;
    let connection = TcpStream::connect(endpoint.to_string()).await;
    let connection = connection.map_err(|error| unreachable(format!("{endpoint}: {error}")))?;
    let stream = tls.connect(name, connection).await;
    let stream = stream.map_err(|error| unreachable(format!("{endpoint}: {error}")))?;
    if stream.get_ref().1.alpn_protocol() != Some(ENROLMENT_PROTOCOL) {
        return Err(EnrolError::Refused("it takes no vouchers".to_owned()));
    }
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| unreachable(error.to_string()))?;
    // Ends with the sender.
    tokio::spawn(connection);
    let request = Request::post(PATH)
        .header(header::HOST, server.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| Error::InvalidRequest(error.to_string()))?;
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| unreachable(error.to_string()))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| unreachable(format!("the answer broke off: {error}")))?;
    let body: Vec<u8> = body.to_bytes().into();
    if status == StatusCode::OK {
        return Ok(body);
    }
    Err(refusal(server, status, &body))
}

/// What the directory says, in its own words.
fn refusal(server: &ServerName, status: StatusCode, body: &[u8]) -> EnrolError {
    #[derive(Deserialize)]
    struct Words {
        error: String,
    }
    let words = serde_json::from_slice::<Words>(body).map(|it| it.error);
    let words = words.unwrap_or_else(|_| format!("it answers {status}"));
    if status.is_server_error() {
        let server = server.to_owned();
        return Error::Unreachable { server, why: words }.into();
    }
    EnrolError::Refused(words)
}
