use std::net::SocketAddr;

use luxchat_bundle::Endpoint;
use serde::Deserialize;

/// The listener for other servers. Whom to talk to is not decided here but by the national authority.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Federation {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where peers reach the box, `host:port`, best first: what the box asks the authority to publish.
    pub endpoints: Vec<Endpoint>,
    /// Whether a peer must show a certificate.
    #[serde(default)]
    pub client_certificates: ClientCertificates,
    /// Whether servers that the members list does not name may be looked up (well-known, SRV, DNS).
    #[serde(default)]
    pub discovery: bool,
}

/// Whether a peer must show a certificate of the national authority.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Always. The national network.
    #[default]
    Required,
    /// Only checked where one is shown: for interoperation with plain Matrix servers and for conformance suites. Said
    /// in the log at start, and in `status`.
    Optional,
}

impl Federation {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.endpoints.is_empty() {
            return Err("federation.endpoints is empty: peers would not find the box".to_owned());
        }
        Ok(())
    }
}
