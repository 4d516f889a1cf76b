//! Whose certificate is accepted.

use std::sync::Arc;

use luxchat_bundle::{Leaf, Refusal};
use luxchat_store::Clock;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tracing::warn;

use crate::{Denial, Membership};

/// Accepts certificates of active members that chain to the national authority; where others may federate, also
/// servers' certificates for their host name that chain to an authority that vouches for them. Every refusal is logged
/// here with its reason, and reaches the peer as a TLS alert.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    membership: Membership,
    extra_authorities: Vec<CertificateDer<'static>>,
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
}

impl PeerVerifier {
    pub(super) fn new(
        membership: Membership,
        extra_authorities: Vec<CertificateDer<'static>>,
        clock: Arc<dyn Clock>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self {
            membership,
            extra_authorities,
            clock,
            provider,
        }
    }

    /// What the certificate says, if its holder may federate. The chain is checked by the caller.
    fn check_leaf(&self, der: &CertificateDer<'_>) -> Result<Leaf, rustls::Error> {
        let leaf = Leaf::parse(der).map_err(|error| {
            warn!(reason = %error, "a certificate is refused");
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        })?;
        let now_ms = self.clock.now_ms();
        if let Err(denial) = self.membership.admit_certificate(&leaf, now_ms) {
            warn!(server = %leaf.server_name, reason = %denial, "a certificate is refused");
            return Err(rustls::Error::InvalidCertificate(alert_for(&denial)));
        }
        Ok(leaf)
    }

    fn check_client_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let mut authorities = self.membership.authorities();
        let claimed = Leaf::parse(end_entity).ok();
        if let Some(leaf) = claimed {
            authorities.extend(self.authorities_beside(leaf.server_name.as_str()));
        }
        let roots = roots(authorities);
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))?
            .verify_client_cert(end_entity, intermediates, now)?;
        Ok(())
    }

    fn check_server_chain(
        &self,
        authorities: Vec<CertificateDer<'static>>,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &roots(authorities),
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )
    }

    /// Who else may vouch for `name`, which is no member.
    fn authorities_beside(&self, name: &str) -> Vec<CertificateDer<'static>> {
        if !self.membership.admits_without_certificate() || self.is_member(name) {
            return Vec::new();
        }
        let mut authorities = self.membership.plain_authorities(name);
        authorities.extend_from_slice(&self.extra_authorities);
        authorities
    }

    fn is_member(&self, name: &str) -> bool {
        let list = self.membership.current();
        list.is_some_and(|list| list.members.get(name).is_some())
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        !self.membership.admits_without_certificate()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check_client_chain(end_entity, intermediates, now)
            .inspect_err(|error| refused(end_entity, error))?;
        self.check_leaf(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = server_name.to_str();
        if self.membership.admits_without_certificate() && !self.is_member(&name) {
            let authorities = self.authorities_beside(&name);
            self.check_server_chain(authorities, end_entity, intermediates, now)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let authorities = self.membership.authorities();
        self.check_server_chain(authorities, end_entity, intermediates, now)
            .inspect_err(|error| refused(end_entity, error))?;
        let leaf = self.check_leaf(end_entity)?;
        if leaf.server_name.as_str() != name {
            warn!(server = %leaf.server_name, expected = %name, "a certificate of another server is refused");
            return Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName,
            ));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ClientCertVerifier::verify_tls13_signature(self, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ClientCertVerifier::supported_verify_schemes(self)
    }
}

fn roots(authorities: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    roots
}

fn only_tls13() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is spoken here".to_owned())
}

/// One line for a chain that does not hold, with the name that the certificate claims.
fn refused(der: &CertificateDer<'_>, error: &rustls::Error) {
    let claimed = Leaf::parse(der).map(|leaf| leaf.server_name.to_string());
    let claimed = claimed.unwrap_or_default();
    warn!(claimed, reason = %error, "a certificate is refused");
}

/// The error whose TLS alert says best why.
fn alert_for(denial: &Denial) -> CertificateError {
    match denial {
        Denial::Revoked(_) | Denial::Certificate(Refusal::CertificateRevoked { .. }) => {
            CertificateError::Revoked
        }
        Denial::Certificate(Refusal::Expired { .. }) => CertificateError::Expired,
        Denial::Certificate(Refusal::NotYetValid { .. }) => CertificateError::NotValidYet,
        _ => CertificateError::ApplicationVerificationFailure,
    }
}
