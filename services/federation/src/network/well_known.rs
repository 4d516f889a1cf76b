//! `/.well-known/matrix/server`.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver>

use std::{fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, header::HOST};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use ruma::OwnedServerName;
use serde::Deserialize;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::TlsConnector;
use tracing::debug;

use crate::tls::Tls;

/// The largest document, in bytes.
const MAX_DOCUMENT: usize = 50 * 1024;

/// Fetches delegations. Redirects are not followed: the name itself must say where it is served.
pub(super) struct Fetcher {
    connector: TlsConnector,
    timeout: Duration,
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "m.server")]
    server: OwnedServerName,
}

impl Fetcher {
    pub(super) fn new(tls: &Tls, timeout: Duration) -> Self {
        let mut config = (*tls.client).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            connector: TlsConnector::from(Arc::new(config)),
            timeout,
        }
    }

    /// Whom `host` has delegated its name to. `None` where it has not, or says so in no usable way.
    pub(super) async fn fetch(&self, host: &str) -> Option<OwnedServerName> {
        let document = tokio::time::timeout(self.timeout, self.read(host)).await;
        match document {
            Ok(Ok(document)) => Some(document.server),
            Ok(Err(error)) => {
                debug!(host, %error, "no delegation");
                None
            }
            Err(_) => {
                debug!(host, "no delegation in time");
                None
            }
        }
    }

    async fn read(&self, host: &str) -> io::Result<Document> {
        let stream = TcpStream::connect((host, 443)).await?;
        let name = rustls_pki_types::ServerName::try_from(host.to_owned());
        let name = name.map_err(io::Error::other)?;
        let stream = self.connector.connect(name, stream).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
                .await
                .map_err(io::Error::other)?;
        let _connection = AbortOnDrop(tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection broke off");
            }
        }));
        let request = Request::get("/.well-known/matrix/server")
            .header(HOST, host)
            .body(Empty::new())
            .map_err(io::Error::other)?;
        let response = sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        if !response.status().is_success() {
            return Err(io::Error::other(response.status().to_string()));
        }
        let body = Limited::new(response.into_body(), MAX_DOCUMENT)
            .collect()
            .await
            .map_err(io::Error::other)?;
        Ok(serde_json::from_slice(&body.to_bytes())?)
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

/// Ends a connection's task with the request that it was for.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
