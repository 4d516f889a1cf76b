use std::{sync::Arc, time::Duration};

use axum::Router;
use axum::body::Body;
use luxchat_bundle::{Bundle, Leaf};
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
    Carrier, ClientCertificates, Conduct, Config, Denial, EnrolledDirectory, Error, FederationAuth,
    FederationPath, Identity, Keys, Membership, MutualTls, RepositorySource, Result, TlsIdentity,
    client::{Client, Transport},
    network::Network,
    sender::Sender,
    tls::{Connections, Tls},
};

/// How often connections are looked at for expired certificates.
const EXPIRY_CHECK: Duration = Duration::from_secs(30);

/// This server among the others: whom it may talk to, how it proves who it is, and what it has to send. Clones share it.
#[derive(Clone, Debug)]
pub struct Federation {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    client: Client,
    keys: Keys,
    sender: Sender,
    conduct: Conduct,
    connections: Connections,
    tls: Option<Tls>,
}

impl Federation {
    /// A server that reaches others by mutual TLS, with the members list at hand, if there is one yet.
    ///
    /// # Errors
    ///
    /// When the identity has no certificate, or its key does not fit it.
    pub fn new(
        store: Store,
        identity: Identity,
        list: Option<Bundle>,
        config: &Config,
    ) -> Result<Self> {
        let Some(own) = identity.tls() else {
            return Err(Error::Config("there is no TLS certificate".to_owned()));
        };
        let membership = match config.client_certificates {
            ClientCertificates::Required => Membership::listed(list),
            ClientCertificates::Optional if config.plain_peers.is_empty() => {
                warn!("client certificates are optional: any server may federate");
                Membership::open(list)
            }
            ClientCertificates::Optional => {
                for (server, peer) in &config.plain_peers {
                    let endpoints: Vec<_> =
                        peer.endpoints.iter().map(ToString::to_string).collect();
                    warn!(%server, ?endpoints, "a plain Matrix server may federate without a certificate");
                }
                Membership::beside(list, config.plain_peers.clone())
            }
        };
        let clock = Arc::clone(store.clock());
        let extra = config.extra_authorities.clone();
        let tls = Tls::new(own, membership.clone(), extra, clock)?;
        let connections = Connections::default();
        let network = Network::new(tls.clone(), connections.clone(), membership.clone(), config)?;
        let transport = Transport::Network(Box::new(network));
        let tls = Some((tls, connections));
        Ok(Self::assemble(
            store, identity, membership, transport, tls, config,
        ))
    }

    /// A server for which every other one is unreachable.
    ///
    /// # Errors
    ///
    /// When the signing key's version cannot be part of a key id.
    pub fn local_only(store: Store, signing_key: Ed25519KeyPair) -> Result<Self> {
        Self::without_tls(store, signing_key, Transport::None)
    }

    /// A server that reaches others of this process through `network`, and admits anyone.
    ///
    /// # Errors
    ///
    /// When the signing key's version cannot be part of a key id.
    pub fn in_memory(
        store: Store,
        signing_key: Ed25519KeyPair,
        network: impl Carrier + 'static,
    ) -> Result<Self> {
        Self::without_tls(store, signing_key, Transport::Memory(Box::new(network)))
    }

    fn without_tls(
        store: Store,
        signing_key: Ed25519KeyPair,
        transport: Transport,
    ) -> Result<Self> {
        let identity = Identity::new(store.server_name().to_owned(), signing_key)?;
        Ok(Self::assemble(
            store,
            identity,
            Membership::open(None),
            transport,
            None,
            &Config::default(),
        ))
    }

    fn assemble(
        store: Store,
        identity: Identity,
        membership: Membership,
        transport: Transport,
        tls: Option<(Tls, Connections)>,
        config: &Config,
    ) -> Self {
        let clock = Arc::clone(store.clock());
        let client = Client::new(Arc::new(identity), membership, clock, transport, config);
        let keys = Keys::new(store.clone(), client.clone());
        let sender = Sender::new(store.clone(), client.clone(), config);
        let conduct = Conduct::new(Arc::clone(store.clock()));
        let (tls, connections) = tls.map_or_else(Default::default, |(tls, connections)| {
            (Some(tls), connections)
        });
        Self {
            shared: Arc::new(Shared {
                store,
                client,
                keys,
                sender,
                conduct,
                connections,
                tls,
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

    /// How other servers behave, and how they are met for it.
    pub fn conduct(&self) -> &Conduct {
        &self.shared.conduct
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

    /// Asks `destination` for something large: an answer that is a success comes with its body still to be read. Its size
    /// and the time it takes are the caller's to limit.
    ///
    /// # Errors
    ///
    /// As [`Federation::request`].
    pub async fn open<T>(
        &self,
        destination: &ServerName,
        request: T,
    ) -> Result<http::Response<Body>>
    where
        T: OutgoingRequest<EndpointError = ruma::api::error::Error>,
        T::Authentication: FederationAuth,
        T::PathBuilder: FederationPath,
    {
        self.shared.client.open(destination, request).await
    }

    /// What the listener does with connections of other servers, for [`luxchat_http::listen`]. `None` without a
    /// certificate.
    pub fn mutual_tls(&self) -> Option<MutualTls> {
        let tls = self.shared.tls.as_ref()?;
        Some(MutualTls::new(
            tls,
            self.shared.connections.clone(),
            self.membership().clone(),
            Arc::clone(self.shared.store.clock()),
        ))
    }

    /// Like [`mutual_tls`](Self::mutual_tls), and lets boxes that have no certificate yet reach `office`, and nothing else.
    ///
    /// # Errors
    ///
    /// When TLS 1.3 is not to be had.
    pub fn mutual_tls_with_enrolment(&self, office: Router) -> Result<Option<MutualTls>> {
        let (Some(tls), Some(listening)) = (self.shared.tls.as_ref(), self.mutual_tls()) else {
            return Ok(None);
        };
        Ok(Some(listening.with_enrolment(tls, office)?))
    }

    /// The signed repository as the national directory serves it. `enrolled` is what the box was told of it at
    /// enrolment, for as long as it has no members list that names one.
    ///
    /// # Errors
    ///
    /// When this server has no certificate to show to the directory.
    pub fn repository(&self, enrolled: Option<EnrolledDirectory>) -> Result<RepositorySource> {
        let tls = self.tls()?;
        let clock = Arc::clone(self.shared.store.clock());
        RepositorySource::new(tls, self.membership().clone(), enrolled, clock)
    }

    /// The certificates of those connected now, each once, by server name.
    pub fn connected(&self) -> Vec<Leaf> {
        self.shared.connections.leaves()
    }

    /// How many connections to and from members stand.
    pub fn open_connections(&self) -> usize {
        self.shared.connections.count()
    }

    /// Shows another certificate from the next connection on.
    ///
    /// # Errors
    ///
    /// When the key does not fit the certificate, or this server has none at all.
    pub fn renew_certificate(&self, identity: &TlsIdentity) -> Result<()> {
        self.tls()?.renew(identity)
    }

    /// Starts what runs in the background until `stop`: the sender, which goes on after the next start where it was
    /// stopped, and the closing of connections of those who may not federate any more.
    pub fn start(&self, stop: CancellationToken) -> JoinHandle<()> {
        let federation = self.clone();
        tokio::spawn(async move {
            let shared = &federation.shared;
            tokio::join!(
                shared.sender.run(stop.clone()),
                federation.close_denied(stop)
            );
        })
    }

    /// Closes connections when the members list changes, and when time makes it or a certificate expire.
    async fn close_denied(&self, stop: CancellationToken) {
        let mut changes = self.membership().watch();
        let mut ticks = tokio::time::interval(EXPIRY_CHECK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = changes.changed() => {}
                _ = ticks.tick() => {}
            }
            let connections = &self.shared.connections;
            connections.close_denied(self.membership(), self.clock());
        }
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

    /// Whether other servers learn the names that local users gave their devices.
    pub fn shares_device_names(&self) -> bool {
        self.shared.sender.shares_device_names()
    }

    /// Tells the sender that `server` speaks: what waits for it is worth an attempt now.
    pub fn wake(&self, server: &ServerName) {
        self.shared.sender.server_speaks(server);
    }

    fn tls(&self) -> Result<&Tls> {
        let tls = self.shared.tls.as_ref();
        tls.ok_or_else(|| Error::Config("this server does not use TLS".to_owned()))
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.shared.client.clock()
    }

    /// Whether `server` may federate now.
    pub(crate) fn admit(&self, server: &ServerName) -> Result<(), Denial> {
        self.shared.client.admit(server)
    }
}
