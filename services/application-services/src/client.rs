//! Requests to application services: the only connections that go out, to the URLs of the registrations alone.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    Method, Request, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use tokio::time::timeout;
use url::Url;

use crate::{Error, Result, Service};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// How long a connection may take to come about.
const CONNECT_TIME: Duration = Duration::from_secs(10);

const APP: &[&str] = &["_matrix", "app", "v1"];
const UNSTABLE: &[&str] = &["_matrix", "app", "unstable"];

#[derive(Debug)]
pub(crate) struct Client {
    pool: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Behind `/_matrix/app/v1`, not yet escaped.
    pub(crate) path: &'a [&'a str],
    pub(crate) query: &'a [(String, String)],
    /// JSON.
    pub(crate) body: Option<Bytes>,
    pub(crate) time: Duration,
    pub(crate) fallback: Fallback,
}

/// Where older services have an endpoint.
/// [Spec](https://spec.matrix.org/v1.19/application-service-api/#legacy-routes).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fallback {
    None,
    /// The same path without a prefix.
    Bare,
    /// Below `/_matrix/app/unstable`.
    Unstable,
}

/// What a service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    /// # Errors
    ///
    /// [`Error::Refused`] for what is no success.
    pub(crate) fn success(self) -> Result<Bytes> {
        if self.status.is_success() {
            Ok(self.body)
        } else {
            Err(Error::Refused(self.status))
        }
    }

    /// Whether the service does not know the endpoint, by all that can be told.
    fn is_unrecognized(&self) -> bool {
        #[derive(Deserialize)]
        struct Code {
            errcode: Option<String>,
        }
        let may_be_unknown = [
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::NOT_IMPLEMENTED,
        ];
        let code = serde_json::from_slice::<Code>(&self.body).ok();
        let code = code.and_then(|body| body.errcode);
        may_be_unknown.contains(&self.status) && code.is_none_or(|code| code == "M_UNRECOGNIZED")
    }
}

impl Client {
    pub(crate) fn new() -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        // A machine without authorities can still reach services on itself, without TLS.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIME));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self {
            pool: legacy::Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Calls a service, at the endpoint's older path where it does not know the newer one. `None` where it wants nothing
    /// sent.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], [`Error::Unreachable`].
    pub(crate) async fn call(&self, service: &Service, call: Call<'_>) -> Result<Option<Answer>> {
        let Some(base) = &service.registration().url else {
            return Ok(None);
        };
        let answer = self.call_at(service, base, APP, &call).await?;
        let older: &[&str] = match call.fallback {
            Fallback::Bare if answer.is_unrecognized() => &[],
            Fallback::Unstable if answer.is_unrecognized() => UNSTABLE,
            _ => return Ok(Some(answer)),
        };
        self.call_at(service, base, older, &call).await.map(Some)
    }

    async fn call_at(
        &self,
        service: &Service,
        base: &Url,
        prefix: &[&str],
        call: &Call<'_>,
    ) -> Result<Answer> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(uri(base, prefix, call)?)
            .header(
                AUTHORIZATION,
                format!("Bearer {}", service.registration().hs_token),
            );
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(call.body.clone().unwrap_or_default());
        let request = request.body(body).map_err(unreachable)?;
        timeout(call.time, self.exchange(request))
            .await
            .map_err(|_| Error::TimedOut)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let response = self.pool.request(request).await.map_err(unreachable)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| Error::Unreachable(error.to_string()))?;
        Ok(Answer {
            status: parts.status,
            body: body.to_bytes(),
        })
    }
}

fn uri(base: &Url, prefix: &[&str], call: &Call<'_>) -> Result<Uri> {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(prefix).extend(call.path);
    }
    if !call.query.is_empty() {
        url.query_pairs_mut().extend_pairs(call.query);
    }
    Uri::try_from(url.as_str()).map_err(unreachable)
}

/// With the causes: "client error (Connect)" alone helps nobody.
fn unreachable(error: impl std::error::Error) -> Error {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    Error::Unreachable(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_escaped_below_the_registered_path() {
        let base = Url::parse("http://127.0.0.1:9000/bridge/").unwrap();
        let call = Call {
            method: Method::GET,
            path: &["rooms", "#a/b?c:example.org"],
            query: &[],
            body: None,
            time: Duration::from_secs(1),
            fallback: Fallback::Bare,
        };
        let uri = |prefix| super::uri(&base, prefix, &call).unwrap().to_string();
        let escaped = "rooms/%23a%2Fb%3Fc:example.org";
        assert_eq!(
            uri(APP),
            format!("http://127.0.0.1:9000/bridge/_matrix/app/v1/{escaped}")
        );
        assert_eq!(uri(&[]), format!("http://127.0.0.1:9000/bridge/{escaped}"));
    }

    #[test]
    fn only_an_unknown_endpoint_is_looked_for_elsewhere() {
        let answer = |status, body: &'static str| Answer {
            status,
            body: Bytes::from_static(body.as_bytes()),
        };
        for (status, body, expected) in [
            (StatusCode::NOT_FOUND, "nothing here", true),
            (
                StatusCode::NOT_FOUND,
                r#"{"errcode":"M_UNRECOGNIZED"}"#,
                true,
            ),
            (StatusCode::NOT_FOUND, r#"{"errcode":"M_NOT_FOUND"}"#, false),
            (StatusCode::FORBIDDEN, "", false),
        ] {
            assert_eq!(answer(status, body).is_unrecognized(), expected, "{body}");
        }
    }
}
