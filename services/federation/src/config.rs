use std::{collections::BTreeMap, time::Duration};

use luxchat_bundle::Endpoint;
use ruma::OwnedServerName;
use rustls_pki_types::CertificateDer;

/// How this server federates.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether only members may federate.
    pub client_certificates: ClientCertificates,
    /// Whether servers without an address on the members list may be looked for: well-known, SRV, DNS.
    pub discovery: bool,
    /// Plain Matrix servers that federate beside the members. Where there are some, nobody else does. Used only with
    /// [`ClientCertificates::Optional`].
    pub plain_peers: PlainPeers,
    /// Certificate authorities, beside the nation's, that servers outside of the members list may chain to. Used only
    /// where [`ClientCertificates::Optional`] admits such servers.
    pub extra_authorities: Vec<CertificateDer<'static>>,
    /// How long a connection may take, TLS handshake included.
    pub connect_timeout: Duration,
    /// How long an answer may take, its body included.
    pub request_timeout: Duration,
    /// How long a join, an invite or a transaction may take, which other servers answer after real work.
    pub long_request_timeout: Duration,
    /// The largest answer, in bytes.
    pub max_response: usize,
    /// How many destinations are sent to at a time.
    pub parallel_destinations: usize,
    /// Whether other servers learn the names that users gave their devices.
    pub share_device_names: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client_certificates: ClientCertificates::Required,
            discovery: false,
            plain_peers: PlainPeers::new(),
            extra_authorities: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            long_request_timeout: Duration::from_mins(2),
            max_response: 100 * 1024 * 1024,
            parallel_destinations: 64,
            share_device_names: false,
        }
    }
}

/// Whether a peer must present a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Only active members federate, each with its certificate.
    #[default]
    Required,
    /// The plain Matrix servers in [`Config::plain_peers`] federate without one; where none are named, anyone does: for
    /// conformance suites. A certificate that is presented must still hold.
    Optional,
}

/// Plain Matrix servers, by name.
pub type PlainPeers = BTreeMap<OwnedServerName, PlainPeer>;

/// How a plain Matrix server is reached and recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainPeer {
    /// Where it listens, best first. Its certificate bears the endpoint's host name, or where that is an address, the
    /// server's.
    pub endpoints: Vec<Endpoint>,
    /// The authorities that its certificate may chain to, beside [`Config::extra_authorities`].
    pub authorities: Vec<CertificateDer<'static>>,
}
