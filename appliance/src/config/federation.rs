use std::net::SocketAddr;

use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;

/// The listener for other servers, and whom to talk to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Federation {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The server name of the national directory, which publishes who may federate.
    pub directory: OwnedServerName,
    /// Where the directory is reached, `host:port`, until its first publication says more.
    #[serde(default)]
    pub directory_endpoints: Vec<String>,
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
    pub(super) fn check(&self, own: &ServerName, is_directory: bool) -> Result<(), String> {
        match (is_directory, self.directory == *own) {
            (true, false) => Err(format!(
                "[directory] is set, but federation.directory is {}, not this box's server_name {own}",
                self.directory
            )),
            (false, true) => Err(
                "federation.directory is this box itself, but there is no [directory] section"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }
}
