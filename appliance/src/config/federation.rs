use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use luxchat_bundle::Endpoint;
use ruma::OwnedServerName;
use serde::Deserialize;

use super::Tls;

/// More plain Matrix servers than a ministry could have left.
const MAX_PEERS: usize = 100;

/// The listener for other servers. Whom to talk to is decided by the national authority, and only for plain Matrix servers
/// here.
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
    /// Plain Matrix servers that the box federates with beside the members. Only where client certificates are optional.
    #[serde(default)]
    pub peers: Vec<PlainPeer>,
}

/// A plain Matrix server, such as the one that a ministry moves away from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainPeer {
    /// Its Matrix server name, which may be one that no box could have: with a port.
    pub server_name: OwnedServerName,
    /// Where it listens for other servers, `host:port`, best first.
    pub endpoints: Vec<Endpoint>,
    /// The certificate authorities, in PEM, that its certificate may chain to. Without them: `federation.authorities`.
    #[serde(default)]
    pub authorities: Option<PathBuf>,
}

/// Whether a peer must show a certificate of the national authority.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Always. The national network.
    #[default]
    Required,
    /// Only checked where one is shown: for interoperation with the plain Matrix servers in `federation.peers`. Where that
    /// names none, any server federates: for conformance suites. Said in the log at start, and in `status`.
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
                ("[[federation.peers]]", !self.peers.is_empty()),
            ];
            if let Some((name, _)) = unused.into_iter().find(|(_, given)| *given) {
                return Err(format!(
                    "{name} is for plain Matrix servers: it needs federation.client_certificates = \"optional\""
                ));
            }
        }
        self.check_peers()
    }

    fn check_peers(&self) -> Result<(), String> {
        if self.peers.len() > MAX_PEERS {
            return Err(format!("federation.peers names more than {MAX_PEERS}"));
        }
        if self.discovery && !self.peers.is_empty() {
            return Err(
                "federation.discovery would find nobody: [[federation.peers]] says whom the box speaks to, and where"
                    .to_owned(),
            );
        }
        let mut names = BTreeSet::new();
        for peer in &self.peers {
            let name = &peer.server_name;
            if !names.insert(name) {
                return Err(format!("federation.peers names {name} twice"));
            }
            if peer.endpoints.is_empty() {
                return Err(format!("federation.peers says of {name} no endpoints"));
            }
            if peer.authorities.is_none() && self.authorities.is_none() {
                return Err(format!(
                    "nobody vouches for {name}: it needs authorities in [[federation.peers]], or federation.authorities"
                ));
            }
        }
        Ok(())
    }
}
