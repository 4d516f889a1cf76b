//! The sockets a box serves: handed over by systemd where a `.socket` unit names them, bound here otherwise.

use std::{collections::HashMap, net::SocketAddr};

use anyhow::{Context, Result};
use listenfd::ListenFd;
use tokio::net::TcpListener;
use tracing::info;

/// Sockets inherited from systemd by the `FileDescriptorName=` of their units.
#[derive(Debug, Default)]
pub struct Inherited(HashMap<String, std::net::TcpListener>);

impl Inherited {
    /// Takes over what systemd passed to this process. Call once, before threads start.
    ///
    /// # Errors
    ///
    /// When a descriptor is not a listening TCP socket.
    pub fn from_env() -> Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut descriptors = ListenFd::from_env();
        let mut sockets = HashMap::new();
        for (index, name) in names.split(':').enumerate().take(descriptors.len()) {
            let socket = descriptors.take_tcp_listener(index).with_context(|| {
                format!("socket {name} from systemd is not a listening TCP socket")
            })?;
            sockets.extend(socket.map(|socket| (name.to_owned(), socket)));
        }
        Ok(Self(sockets))
    }

    /// The socket for a role (`client`, `federation`, `admin`): the inherited one, else bound to `address`.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound; the message names role and address.
    pub async fn or_bind(&mut self, role: &str, address: SocketAddr) -> Result<TcpListener> {
        let listener = match self.0.remove(role) {
            Some(socket) => {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)?
            }
            None => TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {address} for the {role} listener"))?,
        };
        info!(role, address = %listener.local_addr()?, "listening");
        Ok(listener)
    }
}
