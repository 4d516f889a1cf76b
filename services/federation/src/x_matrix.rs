//! Who signed a request.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>

use ruma::{
    OwnedServerName,
    api::federation::authentication::{XMatrix, XMatrixExtractError, XMatrixVerificationError},
    serde::Base64,
    signatures::{JsonError, PublicKeyMap, PublicKeySet, VerificationError},
};

use crate::{Denial, Error, Federation, PeerIdentity};

/// Why a request is not taken for what it claims to be. The words reach the log and the peer.
#[derive(Debug, thiserror::Error)]
pub enum Unauthenticated {
    /// There is no usable X-Matrix header.
    #[error("{0}")]
    Header(#[from] XMatrixExtractError),

    /// The request is meant for another server.
    #[error("the request is for {0}")]
    OtherDestination(OwnedServerName),

    /// The request claims to come from this server itself.
    #[error("the request claims to come from this server")]
    OwnName,

    /// The connection belongs to one server, the request claims another.
    #[error("the certificate names {certified}, the request claims to come from {claimed}")]
    ForgedOrigin {
        /// The server of the certificate.
        certified: OwnedServerName,
        /// The origin in the header.
        claimed: OwnedServerName,
    },

    /// The connection bears no certificate, and those are required.
    #[error("a client certificate is required")]
    NoCertificate,

    /// The origin may not federate.
    #[error("{origin} may not federate: {reason}")]
    Denied {
        /// The origin.
        origin: OwnedServerName,
        /// Why.
        reason: Denial,
    },

    /// The key that the request is said to be signed with is not to be had.
    #[error("the signature of {origin}: {why}")]
    Key {
        /// The origin.
        origin: OwnedServerName,
        /// Why not.
        why: String,
    },

    /// The signature does not hold.
    #[error("the signature of {origin}: {why}")]
    Signature {
        /// The origin.
        origin: OwnedServerName,
        /// What is wrong.
        why: String,
    },

    /// The body is not JSON as it can be signed.
    #[error("the body: {0}")]
    Body(serde_json::Error),

    /// The store failed.
    #[error(transparent)]
    Store(luxchat_store::Error),
}

impl Federation {
    /// The server that made `request`: named by the connection's certificate, by the X-Matrix header, and by a signature
    /// over exactly this body.
    ///
    /// # Errors
    ///
    /// Why it is not to be believed.
    pub async fn verify_request<B: AsRef<[u8]>>(
        &self,
        peer: &PeerIdentity,
        request: &http::Request<B>,
    ) -> Result<OwnedServerName, Unauthenticated> {
        let header = XMatrix::extract_from_http_headers(request.headers())?;
        self.check_claims(peer, &header)?;
        let key = self
            .keys()
            .key(&header.origin, &header.key, self.clock().now())
            .await
            .map_err(|error| match error {
                Error::Store(error) => Unauthenticated::Store(error),
                other => Unauthenticated::Key {
                    origin: header.origin.clone(),
                    why: other.to_string(),
                },
            })?;
        header
            .verify_http_request(request, self.server_name(), &key_map(&header, key))
            .map_err(|error| match error {
                XMatrixVerificationError::Signature(VerificationError::Json(JsonError::Serde(
                    error,
                ))) => Unauthenticated::Body(error),
                error => signature(&header, error.to_string()),
            })?;
        Ok(header.origin)
    }

    fn check_claims(&self, peer: &PeerIdentity, header: &XMatrix) -> Result<(), Unauthenticated> {
        let origin = &header.origin;
        if let Some(destination) = &header.destination
            && destination != self.server_name()
        {
            return Err(Unauthenticated::OtherDestination(destination.clone()));
        }
        if origin == self.server_name() {
            return Err(Unauthenticated::OwnName);
        }
        match peer.server_name() {
            Some(certified) if certified != origin => Err(Unauthenticated::ForgedOrigin {
                certified: certified.to_owned(),
                claimed: origin.clone(),
            }),
            None if !self.membership().may_be_anonymous(origin) => {
                Err(Unauthenticated::NoCertificate)
            }
            _ => self
                .admit(origin)
                .map_err(|reason| Unauthenticated::Denied {
                    origin: origin.clone(),
                    reason,
                }),
        }
    }
}

fn signature(header: &XMatrix, why: String) -> Unauthenticated {
    Unauthenticated::Signature {
        origin: header.origin.clone(),
        why,
    }
}

fn key_map(header: &XMatrix, key: Base64) -> PublicKeyMap {
    let keys = PublicKeySet::from([(header.key.to_string(), key)]);
    PublicKeyMap::from([(header.origin.to_string(), keys)])
}

#[cfg(test)]
mod tests;
