//! Who is asking.

use axum::{
    body::Body,
    extract::{FromRequestParts, Request},
    middleware::Next,
    response::Response,
};
use http::{StatusCode, request::Parts};
use luxchat_federation::{Offence, PeerIdentity, Unauthenticated};
use luxchat_http::{ApiError, Limits, check_json, read_body};
use ruma::{OwnedServerName, ServerName, api::error::ErrorKind};
use tracing::{debug, warn};

use crate::{State, admission::meet, error::Error};

/// The server that made the request. Endpoints take it as an argument, before the body; it is there for those of
/// [`signed`](crate::endpoints::signed).
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    server_name: OwnedServerName,
}

impl Peer {
    /// The peer's name.
    pub(crate) fn server_name(&self) -> &ServerName {
        &self.server_name
    }
}

impl FromRequestParts<State> for Peer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Error> {
        let peer = parts.extensions.get::<Self>().cloned();
        peer.ok_or_else(|| {
            ApiError::internal("an endpoint without authentication asks who asks").into()
        })
    }
}

/// Lets through requests that another server signed, and tells the endpoint which.
pub(crate) async fn authenticate(
    state: State,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    let limits = parts
        .extensions
        .get::<Limits>()
        .copied()
        .unwrap_or_default();
    let peer = parts
        .extensions
        .get::<PeerIdentity>()
        .cloned()
        .unwrap_or_else(PeerIdentity::anonymous);
    let body = read_body(&parts, body, limits)
        .await
        .and_then(|body| check_json(&body, limits.nesting).map(|()| body))
        .inspect_err(|error| note_body(&state, &peer, error))?;

    let request = http::Request::from_parts(parts, body);
    let server_name = state
        .federation
        .verify_request(&peer, &request)
        .await
        .map_err(|error| refuse(&state, &peer, error))?;
    if peer.server_name().is_none() {
        // One with a certificate was met accordingly as soon as it came.
        meet(state.federation.conduct(), &server_name).await?;
    }
    // A peer that speaks is up.
    state.federation.wake(&server_name);

    let mut request = request.map(Body::from);
    request.extensions_mut().insert(Peer { server_name });
    Ok(next.run(request).await)
}

/// Notes what is wrong with a body, where it is certain whose it is.
fn note_body(state: &State, peer: &PeerIdentity, error: &ApiError) {
    let offence = match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Offence::Oversized,
        StatusCode::BAD_REQUEST => Offence::Malformed,
        _ => return,
    };
    if let Some(server) = peer.server_name() {
        state.federation.conduct().note(server, offence);
    }
}

fn refuse(state: &State, peer: &PeerIdentity, error: Unauthenticated) -> ApiError {
    let address = peer.address();
    let message = error.to_string();
    if let Some(server) = peer.server_name()
        && matches!(
            error,
            Unauthenticated::Signature { .. }
                | Unauthenticated::ForgedOrigin { .. }
                | Unauthenticated::OwnName
        )
    {
        let conduct = state.federation.conduct();
        conduct.note(server, Offence::ForgedRequest);
    }
    match error {
        Unauthenticated::Header(_) | Unauthenticated::OtherDestination(_) => {
            debug!(?address, reason = message, "a request is refused");
            ApiError::new(StatusCode::UNAUTHORIZED, ErrorKind::Unauthorized, message)
        }
        Unauthenticated::Key { .. } | Unauthenticated::Signature { .. } => {
            warn!(?address, reason = message, "a request is refused");
            ApiError::new(StatusCode::UNAUTHORIZED, ErrorKind::Unauthorized, message)
        }
        Unauthenticated::OwnName
        | Unauthenticated::ForgedOrigin { .. }
        | Unauthenticated::NoCertificate
        | Unauthenticated::Denied { .. } => {
            warn!(?address, reason = message, "a request is refused");
            ApiError::forbidden(message)
        }
        Unauthenticated::Body(error) if error.is_data() => ApiError::bad_json(message),
        Unauthenticated::Body(_) => ApiError::not_json(message),
        Unauthenticated::Store(error) => ApiError::internal(error),
    }
}
