//! Mutual TLS: version 1.3 only, a certificate on both sides.

mod certificate;
mod connections;
mod handshake;
#[cfg(test)]
mod tests;
mod verify;

use std::{fmt, sync::Arc, time::Duration};

use luxchat_bundle::Bundle;
use luxchat_store::Clock;
use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    server::NoServerSessionStorage,
    time_provider::TimeProvider,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use self::{certificate::OwnCertificate, verify::PeerVerifier};
use crate::{Error, Membership, Result, TlsIdentity};

pub(crate) use self::connections::{Connections, PeerStream};
pub use self::handshake::MutualTls;

/// What a box that has no certificate yet asks to speak (ALPN): who asks for it is asked for no certificate, and reaches
/// the directory's office for vouchers and nothing else.
pub(crate) const ENROLMENT_PROTOCOL: &[u8] = b"luxchat-enrolment/1";

/// Both ends of this server's connections.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
    certificate: Arc<OwnCertificate>,
}

impl Tls {
    /// Connections by this certificate, to and from members.
    ///
    /// # Errors
    ///
    /// When the key does not fit the certificate, or is of a kind that is not supported.
    pub(crate) fn new(
        identity: &TlsIdentity,
        membership: Membership,
        extra_authorities: Vec<CertificateDer<'static>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let certificate = Arc::new(OwnCertificate::new(identity, &provider)?);
        Self::with_parts(membership, extra_authorities, clock, provider, certificate)
    }

    /// The same certificate and clock for peers of another members list.
    pub(crate) fn for_membership(&self, membership: Membership) -> Result<Self> {
        Self::with_parts(
            membership,
            Vec::new(),
            Arc::clone(&self.clock),
            Arc::clone(&self.provider),
            Arc::clone(&self.certificate),
        )
    }

    /// This server's side towards boxes that have no certificate yet.
    ///
    /// # Errors
    ///
    /// When TLS 1.3 is not to be had.
    pub(crate) fn enrolment(&self) -> Result<Arc<ServerConfig>> {
        let time = Arc::new(ClockTime(Arc::clone(&self.clock)));
        let config = ServerConfig::builder_with_details(Arc::clone(&self.provider), time)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| Error::Config(format!("TLS: {error}")))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.certificate) as _);
        Ok(Arc::new(finish_server(
            config,
            vec![ENROLMENT_PROTOCOL.to_vec()],
        )))
    }

    /// Shows another certificate from the next connection on.
    ///
    /// # Errors
    ///
    /// When the key does not fit the certificate, or is of a kind that is not supported.
    pub(crate) fn renew(&self, identity: &TlsIdentity) -> Result<()> {
        self.certificate.replace(identity)
    }

    fn with_parts(
        membership: Membership,
        extra_authorities: Vec<CertificateDer<'static>>,
        clock: Arc<dyn Clock>,
        provider: Arc<CryptoProvider>,
        certificate: Arc<OwnCertificate>,
    ) -> Result<Self> {
        let verifier = Arc::new(PeerVerifier::new(
            membership,
            extra_authorities,
            Arc::clone(&clock),
            Arc::clone(&provider),
        ));
        let time = Arc::new(ClockTime(Arc::clone(&clock)));
        let server = server_config(&provider, &time, &verifier, &certificate)?;
        let client = client_config(&provider, &time, &verifier, &certificate)?;
        Ok(Self {
            server: Arc::new(server),
            client: Arc::new(client),
            provider,
            clock,
            certificate,
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    time: &Arc<ClockTime>,
    verifier: &Arc<PeerVerifier>,
    certificate: &Arc<OwnCertificate>,
) -> Result<ServerConfig> {
    let time = Arc::clone(time) as Arc<dyn TimeProvider>;
    let config = ServerConfig::builder_with_details(Arc::clone(provider), time)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| Error::Config(format!("TLS: {error}")))?
        .with_client_cert_verifier(Arc::clone(verifier) as _)
        .with_cert_resolver(Arc::clone(certificate) as _);
    Ok(finish_server(config, protocols()))
}

fn finish_server(mut config: ServerConfig, protocols: Vec<Vec<u8>>) -> ServerConfig {
    config.alpn_protocols = protocols;
    // A resumed session would bring its certificate along without another look at the members list.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

/// The side of a box that has no certificate yet, towards the directory that `list` names.
pub(crate) fn anonymous_client(list: Bundle, clock: Arc<dyn Clock>) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let time = Arc::new(ClockTime(Arc::clone(&clock)));
    let membership = Membership::listed(Some(list));
    let verifier = PeerVerifier::new(membership, Vec::new(), clock, Arc::clone(&provider));
    let mut config = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| Error::Config(format!("TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ENROLMENT_PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    time: &Arc<ClockTime>,
    verifier: &Arc<PeerVerifier>,
    certificate: &Arc<OwnCertificate>,
) -> Result<ClientConfig> {
    let time = Arc::clone(time) as Arc<dyn TimeProvider>;
    let mut config = ClientConfig::builder_with_details(Arc::clone(provider), time)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| Error::Config(format!("TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as _)
        .with_client_cert_resolver(Arc::clone(certificate) as _);
    config.alpn_protocols = protocols();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn protocols() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// The box's clock, as TLS takes it.
#[derive(Debug)]
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(
            self.0.now_ms(),
        )))
    }
}
