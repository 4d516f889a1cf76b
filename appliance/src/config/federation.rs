use std::{net::SocketAddr, path::PathBuf};

use luxchat_bundle::Endpoint;
use serde::Deserialize;

use super::Tls;

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
    /// Whether peers learn the names that users gave their devices.
    #[serde(default)]
    pub share_device_names: bool,
    /// Certificate authorities, in PEM, of servers that the members list does not name. Only where client certificates
    /// are optional.
    #[serde(default)]
    pub authorities: Option<PathBuf>,
    /// The certificate of a box that is not enrolled and federates with plain Matrix servers alone. Only where client
    /// certificates are optional.
    #[serde(default)]
    pub tls: Option<Tls>,
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
        if self.client_certificates == ClientCertificates::Required {
            let unused = [
                ("federation.authorities", self.authorities.is_some()),
                ("[federation.tls]", self.tls.is_some()),
            ];
            if let Some((name, _)) = unused.into_iter().find(|(_, given)| *given) {
                return Err(format!(
                    "{name} is for plain Matrix servers: it needs federation.client_certificates = \"optional\""
                ));
            }
        }
        Ok(())
    }
}
