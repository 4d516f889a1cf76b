//! Who is asking.

use axum::{
    body::Body,
    extract::{FromRequestParts, Request},
    middleware::Next,
    response::Response,
};
use http::{StatusCode, request::Parts};
use luxchat_federation::{PeerIdentity, Unauthenticated};
use luxchat_http::{ApiError, Limits, check_json, read_body};
use ruma::{OwnedServerName, ServerName, api::error::ErrorKind};
use tracing::{debug, warn};

use crate::{State, error::Error};

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
    let body = read_body(&parts, body, limits).await?;
    check_json(&body, limits.nesting)?;
    let peer = parts
        .extensions
        .get::<PeerIdentity>()
        .cloned()
        .unwrap_or_else(PeerIdentity::anonymous);

    let request = http::Request::from_parts(parts, body);
    let server_name = state
        .federation
        .verify_request(&peer, &request)
        .await
        .map_err(|error| refuse(&peer, error))?;
    // A peer that speaks is up.
    state.federation.wake(&server_name);

    let mut request = request.map(Body::from);
    request.extensions_mut().insert(Peer { server_name });
    Ok(next.run(request).await)
}

fn refuse(peer: &PeerIdentity, error: Unauthenticated) -> ApiError {
    let address = peer.address();
    let message = error.to_string();
    match error {
        Unauthenticated::Header(_) | Unauthenticated::OtherDestination(_) => {
            debug!(?address, reason = message, "a request is refused");
            ApiError::new(StatusCode::UNAUTHORIZED, ErrorKind::Unauthorized, message)
        }
        Unauthenticated::Signature { .. } => {
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
