use std::net::SocketAddr;

use ruma::{OwnedServerName, ServerName};

/// Whom a connection belongs to. The listener puts it into the extensions of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    server_name: Option<OwnedServerName>,
    address: Option<SocketAddr>,
}

impl PeerIdentity {
    /// A peer whose certificate names `server_name` and holds.
    pub fn certified(server_name: OwnedServerName) -> Self {
        Self {
            server_name: Some(server_name),
            address: None,
        }
    }

    /// A peer without a certificate, where those are optional.
    pub fn anonymous() -> Self {
        Self {
            server_name: None,
            address: None,
        }
    }

    /// Adds where the connection comes from.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The server that the verified certificate names. `None` where the peer presented none.
    pub fn server_name(&self) -> Option<&ServerName> {
        self.server_name.as_deref()
    }

    /// Where the connection comes from.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}
