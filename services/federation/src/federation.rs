use std::sync::Arc;

use luxchat_store::{Clock, Store};
use ruma::{
    OwnedServerName, ServerName,
    api::{OutgoingRequest, federation::transactions::edu::Edu},
    serde::Raw,
    signatures::Ed25519KeyPair,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    Config, Denial, FederationAuth, FederationPath, Identity, Keys, Membership, MemoryNetwork,
    Result,
    client::{Client, Transport},
    sender::Sender,
};

/// This server among the others: whom it may talk to, how it proves who it is, and what it has to send. Clones share it.
#[derive(Clone, Debug)]
pub struct Federation {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    keys: Keys,
    sender: Sender,
}

impl Federation {
    /// A server for which every other one is unreachable.
    ///
    /// # Errors
    ///
    /// When the signing key's version cannot be part of a key id.
    pub fn local_only(store: Store, signing_key: Ed25519KeyPair) -> Result<Self> {
        Self::without_tls(store, signing_key, Transport::None)
    }

    /// A server that reaches those attached to `network`, and admits anyone.
    ///
    /// # Errors
    ///
    /// When the signing key's version cannot be part of a key id.
    pub fn in_memory(
        store: Store,
        signing_key: Ed25519KeyPair,
        network: MemoryNetwork,
    ) -> Result<Self> {
        Self::without_tls(store, signing_key, Transport::Memory(network))
    }

    fn without_tls(
        store: Store,
        signing_key: Ed25519KeyPair,
        transport: Transport,
    ) -> Result<Self> {
        let identity = Identity::new(store.server_name().to_owned(), signing_key)?;
        Ok(Self::with_transport(
            store,
            identity,
            Membership::open(None),
            transport,
            &Config::default(),
        ))
    }

    fn with_transport(
        store: Store,
        identity: Identity,
        membership: Membership,
        transport: Transport,
        config: &Config,
    ) -> Self {
        let clock = Arc::clone(store.clock());
        let client = Client::new(Arc::new(identity), membership, clock, transport, config);
        let keys = Keys::new(store.clone(), client.clone());
        let sender = Sender::new(store, client.clone(), config.parallel_destinations);
        Self {
            shared: Arc::new(Shared {
                client,
                keys,
                sender,
            }),
        }
    }

    /// This server's name.
    pub fn server_name(&self) -> &ServerName {
        self.identity().server_name()
    }

    /// Who this server is.
    pub fn identity(&self) -> &Identity {
        self.shared.client.identity()
    }

    /// The key that signs this server's events and requests.
    pub fn signing_key(&self) -> &Ed25519KeyPair {
        self.identity().signing_key()
    }

    /// The public keys of servers.
    pub fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// Who may federate.
    pub fn membership(&self) -> &Membership {
        self.shared.client.membership()
    }

    /// Asks `destination`, signing the request as this server.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`](crate::Error::Denied) before anything is sent where the destination may not federate;
    /// [`Error::Refused`](crate::Error::Refused) with the remote's own error; otherwise what went wrong on the way.
    pub async fn request<T>(
        &self,
        destination: &ServerName,
        request: T,
    ) -> Result<T::IncomingResponse>
    where
        T: OutgoingRequest<EndpointError = ruma::api::error::Error>,
        T::Authentication: FederationAuth,
        T::PathBuilder: FederationPath,
    {
        self.shared.client.request(destination, request).await
    }

    /// Starts the sender, which runs until `stop`. What it had not sent by then it sends after the next start.
    pub fn start(&self, stop: CancellationToken) -> JoinHandle<()> {
        let sender = self.shared.sender.clone();
        tokio::spawn(async move { sender.run(stop).await })
    }

    /// Sends something that is worth nothing later (typing). It is dropped for a destination that is down.
    pub fn send_edu(&self, destinations: impl IntoIterator<Item = OwnedServerName>, edu: &Edu) {
        let raw = match Raw::new(edu) {
            Ok(raw) => raw,
            Err(error) => {
                warn!(%error, "an EDU cannot be written");
                return;
            }
        };
        for server in destinations {
            self.shared.sender.send_ephemeral(&server, raw.clone());
        }
    }

    /// Tells the sender that `server` speaks: what waits for it is worth an attempt now.
    pub fn wake(&self, server: &ServerName) {
        self.shared.sender.server_speaks(server);
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.shared.client.clock()
    }

    /// Whether `server` may federate now.
    pub(crate) fn admit(&self, server: &ServerName) -> Result<(), Denial> {
        self.shared.client.admit(server)
    }
}
