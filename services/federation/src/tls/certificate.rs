//! The certificate that this server shows, in both directions.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{Error, Result, TlsIdentity};

/// The certificate in force. It can be replaced while connections stand.
pub(super) struct OwnCertificate {
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
}

impl OwnCertificate {
    pub(super) fn new(identity: &TlsIdentity, provider: &Arc<CryptoProvider>) -> Result<Self> {
        Ok(Self {
            current: ArcSwap::from_pointee(certified_key(identity, provider)?),
            provider: Arc::clone(provider),
        })
    }

    pub(super) fn replace(&self, identity: &TlsIdentity) -> Result<()> {
        let key = certified_key(identity, &self.provider)?;
        self.current.store(Arc::new(key));
        Ok(())
    }
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificate").finish_non_exhaustive()
    }
}

fn certified_key(identity: &TlsIdentity, provider: &CryptoProvider) -> Result<CertifiedKey> {
    CertifiedKey::from_der(identity.chain.clone(), identity.key.clone_key(), provider)
        .map_err(|error| Error::Config(format!("the TLS certificate or its key: {error}")))
}
