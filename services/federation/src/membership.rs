//! Who may federate.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use luxchat_bundle::{Bundle, Endpoint, Leaf, Member, Refusal, Status};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerName, OwnedServerSigningKeyId, ServerName,
    ServerSigningKeyId, UInt, serde::Base64,
};
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use crate::{PlainPeer, PlainPeers};

/// Why a server may not federate. The words reach the log and the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// This server has no members list: nobody may.
    #[error("there is no members list")]
    NoList,
    /// The members list has expired: nobody may.
    #[error("the members list has expired")]
    ListExpired,
    /// The members list does not name it.
    #[error("the server is not on the members list")]
    Unlisted,
    /// The members list names it as suspended.
    #[error("the server is suspended: {0}")]
    Suspended(String),
    /// The members list names it as revoked.
    #[error("the server is revoked: {0}")]
    Revoked(String),
    /// Its certificate is not to be accepted.
    #[error("{0}")]
    Certificate(#[from] Refusal),
}

/// The handle on the members list in force. Clones share it.
#[derive(Clone, Debug)]
pub struct Membership {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    current: ArcSwapOption<Bundle>,
    version: watch::Sender<u64>,
    others: Others,
}

/// Who federates beside the members.
#[derive(Debug)]
enum Others {
    /// Nobody.
    Nobody,
    /// The plain Matrix servers that the site names.
    Named(PlainPeers),
    /// Anyone.
    Anyone,
}

/// A signing key as the members list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// The Ed25519 public key.
    pub key: Base64,
    /// When it went out of use. `None`: it is in use.
    pub expired: Option<MilliSecondsSinceUnixEpoch>,
}

impl Membership {
    /// Only the list's active members federate; without a list, nobody does.
    pub fn listed(list: Option<Bundle>) -> Self {
        Self::new(list, Others::Nobody)
    }

    /// The list's active members federate, and the plain Matrix servers that are no members.
    pub fn beside(list: Option<Bundle>, plain: PlainPeers) -> Self {
        Self::new(list, Others::Named(plain))
    }

    /// Anyone federates whom the list, where there is one, does not shut out.
    pub fn open(list: Option<Bundle>) -> Self {
        Self::new(list, Others::Anyone)
    }

    fn new(list: Option<Bundle>, others: Others) -> Self {
        let version = list.as_ref().map_or(0, |list| list.version);
        Self {
            shared: Arc::new(Shared {
                current: ArcSwapOption::from_pointee(list),
                version: watch::Sender::new(version),
                others,
            }),
        }
    }

    /// The list in force.
    pub fn current(&self) -> Option<Arc<Bundle>> {
        self.shared.current.load_full()
    }

    /// Puts a list in force and tells those who watch.
    pub fn update(&self, list: Bundle) {
        let version = list.version;
        self.shared.current.store(Some(Arc::new(list)));
        self.shared.version.send_replace(version);
    }

    /// Sees every change of the list, by version.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// Whether anyone may federate whom the list does not shut out.
    pub fn is_open(&self) -> bool {
        matches!(self.shared.others, Others::Anyone)
    }

    /// Whether connections without a certificate are let in at all.
    pub fn admits_without_certificate(&self) -> bool {
        !matches!(self.shared.others, Others::Nobody)
    }

    /// Whether `server` may speak over a connection without a certificate.
    pub fn may_be_anonymous(&self, server: &ServerName) -> bool {
        self.is_open() || self.plain(server).is_some()
    }

    /// Whether `server` may federate at `now_ms` (milliseconds since the Unix epoch).
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub fn admit(&self, server: &ServerName, now_ms: u64) -> Result<(), Denial> {
        if self.plain(server).is_some() {
            return Ok(());
        }
        let Some(list) = self.current() else {
            return if self.is_open() {
                Ok(())
            } else {
                Err(Denial::NoList)
            };
        };
        match list
            .members
            .get(server.as_str())
            .map(|member| &member.status)
        {
            Some(Status::Suspended { reason, .. }) => Err(Denial::Suspended(reason.clone())),
            Some(Status::Revoked { reason, .. }) => Err(Denial::Revoked(reason.clone())),
            None if !self.is_open() => Err(Denial::Unlisted),
            Some(Status::Active {}) | None => self.check_expiry(&list, now_ms),
        }
    }

    /// Whether the holder of the certificate may federate at `now_ms`, and as whom. The chain is the TLS stack's business.
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub fn admit_certificate(&self, leaf: &Leaf, now_ms: u64) -> Result<OwnedServerName, Denial> {
        let server = ServerName::parse(leaf.server_name.as_str())
            .map_err(|_| Denial::Certificate(Refusal::Unlisted(leaf.server_name.clone())))?;
        self.admit(&server, now_ms)?;
        if let Some(list) = self.current()
            && list.members.get(server.as_str()).is_some()
        {
            list.members.admit(leaf, timestamp(now_ms))?;
        }
        Ok(server)
    }

    /// The national certificate authorities.
    pub fn authorities(&self) -> Vec<CertificateDer<'static>> {
        self.current().map_or_else(Vec::new, |list| {
            let authorities = list.members.authorities().iter();
            authorities.map(|it| it.der().clone()).collect()
        })
    }

    /// The authorities that may vouch for plain Matrix servers at `host`, or named by it.
    pub fn plain_authorities(&self, host: &str) -> Vec<CertificateDer<'static>> {
        let Others::Named(peers) = &self.shared.others else {
            return Vec::new();
        };
        let peers = peers.iter().filter(|(server, peer)| {
            self.plain(server).is_some()
                && (server.host() == host
                    || peer
                        .endpoints
                        .iter()
                        .any(|endpoint| endpoint.host() == host))
        });
        peers
            .flat_map(|(_, peer)| peer.authorities.iter().cloned())
            .collect()
    }

    /// Where `server` listens, best first. Empty where neither the list nor the site says.
    pub fn endpoints(&self, server: &ServerName) -> Vec<Endpoint> {
        let plain = || self.plain(server).map(|peer| peer.endpoints.clone());
        self.member(server, |member| member.endpoints.clone())
            .or_else(plain)
            .unwrap_or_default()
    }

    /// What the site says of a plain Matrix server. Of a member, only the list speaks.
    pub fn plain(&self, server: &ServerName) -> Option<&PlainPeer> {
        let Others::Named(peers) = &self.shared.others else {
            return None;
        };
        let peer = peers.get(server)?;
        self.member(server, |_| ()).is_none().then_some(peer)
    }

    /// The names of the plain Matrix servers that federate.
    pub fn plain_servers(&self) -> Vec<OwnedServerName> {
        let Others::Named(peers) = &self.shared.others else {
            return Vec::new();
        };
        let names = peers.keys().filter(|server| self.plain(server).is_some());
        names.cloned().collect()
    }

    /// Whether the list says which keys `server` signs with. It is the authority then: no other key of it counts.
    pub fn lists_keys(&self, server: &ServerName) -> bool {
        self.member(server, |member| !member.signing_keys.is_empty())
            .unwrap_or(false)
    }

    /// A signing key of `server`, in use or not. A member that was revoked has signed valid events before, and signs none
    /// since.
    pub fn signing_key(
        &self,
        server: &ServerName,
        key_id: &ServerSigningKeyId,
    ) -> Option<ListedKey> {
        self.signing_keys(server).remove(key_id)
    }

    /// All signing keys of `server`, in use or not.
    pub fn signing_keys(
        &self,
        server: &ServerName,
    ) -> BTreeMap<OwnedServerSigningKeyId, ListedKey> {
        self.member(server, listed_keys).unwrap_or_default()
    }

    /// The active national directories, in the order of their names.
    pub fn directories(&self) -> Vec<OwnedServerName> {
        self.current().map_or_else(Vec::new, |list| {
            let directories = list.members.directories();
            directories
                .filter_map(|member| ServerName::parse(member.server_name.as_str()).ok())
                .collect()
        })
    }

    fn member<T>(&self, server: &ServerName, read: impl FnOnce(&Member) -> T) -> Option<T> {
        let list = self.current()?;
        list.members.get(server.as_str()).map(read)
    }

    fn check_expiry(&self, list: &Bundle, now_ms: u64) -> Result<(), Denial> {
        if timestamp(now_ms) >= list.expires && !self.is_open() {
            return Err(Denial::ListExpired);
        }
        Ok(())
    }
}

fn timestamp(ms: u64) -> Timestamp {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
}

/// A member that is out for good has no key in use: what others pass on as signed by it since is not taken.
fn listed_keys(member: &Member) -> BTreeMap<OwnedServerSigningKeyId, ListedKey> {
    let ms = |at: &Timestamp| {
        MilliSecondsSinceUnixEpoch(UInt::try_from(at.as_millisecond()).unwrap_or_default())
    };
    let end = match &member.status {
        Status::Revoked { since, .. } => Some(ms(since)),
        Status::Active {} | Status::Suspended { .. } => None,
    };
    let current = member.signing_keys.iter().map(|(id, key)| (id, key, end));
    let old = member.old_signing_keys.iter().map(|(id, old)| {
        let expired = ms(&old.expired_at);
        let expired = end.map_or(expired, |end| end.min(expired));
        (id, &old.key, Some(expired))
    });
    current
        .chain(old)
        .filter_map(|(id, key, expired)| {
            let id = OwnedServerSigningKeyId::try_from(id.to_string()).ok()?;
            let key = Base64::new(key.as_bytes().to_vec());
            Some((id, ListedKey { key, expired }))
        })
        .collect()
}
