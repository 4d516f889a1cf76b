//! Fetching what a user names, from where that is allowed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    task::AbortHandle,
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::{Config, address::is_allowed};

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// How long one address may take to answer a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Bytes of an answer's headers, and how many there may be.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;

const USER_AGENT: HeaderValue = HeaderValue::from_static("Luxchat (URL preview)");

/// Why something could not be fetched: for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0} is not fetched from")]
    Refused(String),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("the answer {0}")]
    Answer(&'static str),
}

/// What a URL led to.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// Where the last redirect led.
    pub(crate) url: Url,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

/// How much of an answer to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Of a page: what lies behind is cut off.
    pub(crate) page: usize,
    /// Of a picture: a larger one is an error.
    pub(crate) picture: usize,
}

/// Fetches over connections of their own, each to an address that was checked. Nothing is kept between two requests.
#[derive(Debug)]
pub(crate) struct Fetcher {
    config: Config,
    tls: Arc<rustls::ClientConfig>,
}

impl Fetcher {
    pub(crate) fn new(config: Config) -> Result<Self, rustls::Error> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config,
            tls: Arc::new(tls),
        })
    }

    /// What lies at a URL, through redirects. The body is read where it is a page or a picture, and of these only as much
    /// as `sizes` says.
    pub(crate) async fn get(&self, url: Url, sizes: Sizes) -> Result<Fetched, FetchError> {
        let mut url = url;
        for _ in 0..=MAX_REDIRECTS {
            let (response, _connection) = self.ask(&url).await?;
            let status = response.status();
            if let Some(next) = redirect(&url, &response) {
                url = next;
                continue;
            }
            if !status.is_success() {
                return Err(FetchError::Status(status));
            }
            let content_type = content_type(response.headers());
            let body = read(response, &content_type, sizes).await?;
            return Ok(Fetched {
                url,
                content_type,
                body,
            });
        }
        Err(FetchError::Answer("redirects for ever"))
    }

    async fn ask(&self, url: &Url) -> Result<(Response<Incoming>, Running), FetchError> {
        let refused = || FetchError::Refused(url.to_string());
        let (host, port) = self.target(url).ok_or_else(refused)?;
        let stream = connect(&self.addresses(&host, port).await?).await?;
        stream.set_nodelay(true)?;
        if url.scheme() == "http" {
            return request(stream, url).await;
        }
        let name = match &host {
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|_| refused())?,
            Host::Ipv4(address) => ServerName::from(std::net::IpAddr::from(*address)),
            Host::Ipv6(address) => ServerName::from(std::net::IpAddr::from(*address)),
        };
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        request(tls.connect(name, stream).await?, url).await
    }

    /// The host and port of a URL that may be fetched.
    fn target(&self, url: &Url) -> Option<(Host<String>, u16)> {
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        let port = url.port_or_known_default()?;
        let ports = &self.config.ports;
        if !ports.is_empty() && !ports.contains(&port) {
            return None;
        }
        Some((url.host()?.to_owned(), port))
    }

    /// The addresses behind a name. One that is not allowed spoils them all: a name that means the inside now and then
    /// means no good.
    async fn addresses(
        &self,
        host: &Host<String>,
        port: u16,
    ) -> Result<Vec<SocketAddr>, FetchError> {
        let addresses: Vec<SocketAddr> = match host {
            Host::Ipv4(address) => vec![(*address, port).into()],
            Host::Ipv6(address) => vec![(*address, port).into()],
            Host::Domain(name) => lookup_host((name.as_str(), port)).await?.collect(),
        };
        let allowed = &self.config.allowed_networks;
        match addresses
            .iter()
            .find(|address| !is_allowed(address.ip(), allowed))
        {
            Some(address) => Err(FetchError::Refused(format!("{host} ({})", address.ip()))),
            None => Ok(addresses),
        }
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, FetchError> {
    let mut last = FetchError::Answer("has no address");
    for address in addresses.iter().take(MAX_ADDRESSES) {
        match tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error.into(),
            Err(_) => last = FetchError::Answer("takes too long to connect"),
        }
    }
    Err(last)
}

/// The task that drives a connection, for as long as its answer is read.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn request(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    url: &Url,
) -> Result<(Response<Incoming>, Running), FetchError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await?;
    let running = Running(tokio::spawn(connection).abort_handle());
    let mut path = url.path().to_owned();
    if let Some(query) = url.query() {
        path = format!("{path}?{query}");
    }
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "text/html, application/xhtml+xml, image/*")
        // Packed bytes would have to be unpacked first, who knows to what size.
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Refused(url.to_string()))?;
    Ok((sender.send_request(request).await?, running))
}

/// Where an answer says to go instead.
fn redirect(from: &Url, response: &Response<Incoming>) -> Option<Url> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    is_redirect.then(|| from.join(location).ok()).flatten()
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_ascii_lowercase()
}

pub(crate) fn is_page(content_type: &str) -> bool {
    content_type.starts_with("text/html") || content_type.starts_with("application/xhtml+xml")
}

pub(crate) fn is_picture(content_type: &str) -> bool {
    content_type.starts_with("image/")
}

async fn read(
    response: Response<Incoming>,
    content_type: &str,
    sizes: Sizes,
) -> Result<Bytes, FetchError> {
    let limit = if is_page(content_type) {
        sizes.page
    } else if is_picture(content_type) {
        sizes.picture
    } else {
        return Ok(Bytes::new());
    };
    let encoding = response.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(FetchError::Answer("is packed"));
    }
    let mut body = response.into_body();
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let left = limit - read.len();
        if data.len() > left && is_picture(content_type) {
            return Err(FetchError::Answer("is too large"));
        }
        read.extend_from_slice(&data[..data.len().min(left)]);
        if read.len() == limit && is_page(content_type) {
            break;
        }
    }
    Ok(read.freeze())
}
