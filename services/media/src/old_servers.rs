//! Servers that do not know the authenticated endpoint are asked by the one that was before it, where the site federates
//! with servers outside of the nation at all.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixmediav3downloadservernamemediaid).

use std::time::Duration;

use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION},
};
use luxchat_federation::Error;
use ruma::{
    OwnedServerName, ServerName,
    api::{
        EmptyBody, IncomingResponse, Metadata, OutgoingRequest,
        auth_scheme::NoAuthentication,
        error::{DeserializationError, ErrorKind, IntoHttpError},
        path_builder::SinglePath,
    },
    http_headers::ContentDisposition,
};

use crate::multipart::Head;

/// Asks for a medium of a server itself.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    server: OwnedServerName,
    media_id: String,
    patience: Duration,
}

/// The body is read by the caller.
#[derive(Debug)]
pub(crate) struct Response;

impl Request {
    pub(crate) fn new(server: &ServerName, media_id: &str, patience: Duration) -> Self {
        Self {
            server: server.to_owned(),
            media_id: media_id.to_owned(),
            patience,
        }
    }
}

impl Metadata for Request {
    const METHOD: http::Method = http::Method::GET;
    const RATE_LIMITED: bool = false;
    type Authentication = NoAuthentication;
    type PathBuilder = SinglePath;
    const PATH_BUILDER: SinglePath =
        SinglePath::new("/_matrix/media/v3/download/{server_name}/{media_id}");
}

impl OutgoingRequest for Request {
    type Body = EmptyBody;
    type EndpointError = ruma::api::error::Error;
    type IncomingResponse = Response;

    fn try_into_http_request_inner(
        self,
        base_url: &str,
        (): (),
    ) -> Result<http::Request<EmptyBody>, IntoHttpError> {
        // It must not ask others in turn.
        let query = format!(
            "allow_remote=false&timeout_ms={}",
            self.patience.as_millis()
        );
        let url = Self::make_endpoint_url((), base_url, &[&self.server, &self.media_id], &query)?;
        Ok(http::Request::get(url).body(EmptyBody)?)
    }
}

impl IncomingResponse for Response {
    type EndpointError = ruma::api::error::Error;

    fn try_from_http_response_inner(
        _: http::Response<&[u8]>,
    ) -> Result<Self, DeserializationError> {
        Ok(Self)
    }
}

/// Whether a server refused because it does not know the endpoint: it says so, or it does not answer as Matrix servers
/// answer to what they know.
pub(crate) fn is_unknown(error: &Error) -> bool {
    match error.remote_status() {
        Some(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
            matches!(error.remote_kind(), None | Some(ErrorKind::Unrecognized))
        }
        _ => false,
    }
}

/// What the headers say of the content.
pub(crate) fn head(headers: &HeaderMap) -> Head {
    let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let disposition: Option<ContentDisposition> = headers
        .get(CONTENT_DISPOSITION)
        .and_then(|value| ContentDisposition::try_from(value.as_bytes()).ok());
    Head {
        content_type: text(CONTENT_TYPE),
        file_name: disposition.and_then(|disposition| disposition.filename),
        length: text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        location: text(LOCATION),
    }
}
