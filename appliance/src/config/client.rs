use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;
use url::Url;

/// The listener for Matrix clients.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where clients reach the box: what `.well-known/matrix/client` says.
    pub public_url: Url,
    /// The certificate clients see. Without it the listener speaks plain HTTP, which only a loopback address or a
    /// reverse proxy on the same machine may use.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Reverse proxies whose `X-Forwarded-For` names the client's address.
    #[serde(default)]
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// Whether whoever has no account here may have the box ask other servers for their users' profiles.
    #[serde(default)]
    pub anonymous_profile_lookups: bool,
}

/// A certificate chain and its key, in PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain, the box's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Client {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.tls.is_none() && !self.listen.ip().is_loopback() {
            return Err(format!(
                "client.listen is {}: without [client.tls] only a loopback address is allowed, since passwords and \
                 tokens would cross the network in the clear",
                self.listen
            ));
        }
        if !matches!(self.public_url.scheme(), "https" | "http") {
            return Err(format!(
                "client.public_url must be an https URL, not {}",
                self.public_url
            ));
        }
        Ok(())
    }
}
