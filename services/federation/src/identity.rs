//! Who this server is to others.

use std::fmt;

use ruma::{
    OwnedServerName, OwnedServerSigningKeyId, ServerName,
    serde::Base64,
    signatures::{Ed25519KeyPair, PublicKeyMap, PublicKeySet},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Error, Result};

/// The name and the keys of this server. Private keys never leave it.
pub struct Identity {
    server_name: OwnedServerName,
    signing_key: Ed25519KeyPair,
    signing_key_id: OwnedServerSigningKeyId,
    tls: Option<TlsIdentity>,
}

/// The certificate that names this server, in both directions.
pub struct TlsIdentity {
    /// The leaf first, then what links it to the national authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// An identity without a certificate: enough for tests and for a server that never federates.
    ///
    /// # Errors
    ///
    /// When the signing key's version cannot be part of a key id.
    pub fn new(server_name: OwnedServerName, signing_key: Ed25519KeyPair) -> Result<Self> {
        let signing_key_id =
            OwnedServerSigningKeyId::try_from(format!("ed25519:{}", signing_key.version()))
                .map_err(|error| Error::Config(format!("the signing key's version: {error}")))?;
        Ok(Self {
            server_name,
            signing_key,
            signing_key_id,
            tls: None,
        })
    }

    /// Adds the certificate.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsIdentity) -> Self {
        self.tls = Some(tls);
        self
    }

    /// This server's name.
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    /// The Ed25519 key that signs events and requests.
    pub fn signing_key(&self) -> &Ed25519KeyPair {
        &self.signing_key
    }

    /// The signing key's id.
    pub fn signing_key_id(&self) -> &OwnedServerSigningKeyId {
        &self.signing_key_id
    }

    /// The certificate and its key.
    pub fn tls(&self) -> Option<&TlsIdentity> {
        self.tls.as_ref()
    }

    /// The public half of the signing key.
    pub fn public_key(&self) -> Base64 {
        Base64::new(self.signing_key.public_key().to_vec())
    }

    /// The public half as `ruma::signatures` takes it.
    pub fn public_key_map(&self) -> PublicKeyMap {
        let keys = PublicKeySet::from([(self.signing_key_id.to_string(), self.public_key())]);
        PublicKeyMap::from([(self.server_name.to_string(), keys)])
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("server_name", &self.server_name)
            .field("signing_key_id", &self.signing_key_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}
