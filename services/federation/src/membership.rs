//! Who may federate.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use ruma::{OwnedServerName, OwnedServerSigningKeyId, ServerName, serde::Base64};
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

/// Why a server may not federate. The words reach the log and the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The members list does not name it.
    #[error("the server is not in the members list")]
    Unlisted,
    /// The members list names it as suspended.
    #[error("the server is suspended")]
    Suspended,
    /// The members list names it as revoked.
    #[error("the server is revoked")]
    Revoked,
    /// The members list is older than its expiry: nobody may.
    #[error("the members list has expired")]
    ListExpired,
}

/// The handle on the members list in force. Clones share it.
#[derive(Clone, Debug)]
pub struct Membership {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    current: ArcSwap<MemberList>,
    version: watch::Sender<u64>,
    open: bool,
}

/// One version of the members list, ready for look-ups.
#[derive(Clone, Debug, Default)]
pub struct MemberList {
    /// The version of the signed list.
    pub version: u64,
    /// When the list expires, in milliseconds since the Unix epoch. `None`: never.
    pub expires_ms: Option<u64>,
    /// The national certificate authorities.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The members by name.
    pub members: HashMap<OwnedServerName, Member>,
}

/// One server of the list.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its standing.
    pub status: MemberStatus,
    /// What it is for.
    pub role: MemberRole,
    /// Where its federation listener is: `host:port` or `address:port`.
    pub endpoints: Vec<String>,
    /// SHA-256 of the certificates it may present, where the list pins them.
    pub certificate_pins: Vec<[u8; 32]>,
    /// Its Matrix signing keys.
    pub signing_keys: HashMap<OwnedServerSigningKeyId, Base64>,
}

/// The standing of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberStatus {
    /// May federate.
    Active,
    /// May not for now.
    Suspended,
    /// May not any more.
    Revoked,
}

/// What a member is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// A homeserver.
    Homeserver,
    /// The national directory, which serves the signed repository and vouches for keys.
    Directory,
}

impl Membership {
    /// Only the list's active members federate.
    pub fn listed(list: MemberList) -> Self {
        Self::new(list, false)
    }

    /// Anyone federates whom the list does not shut out.
    pub fn open(list: MemberList) -> Self {
        Self::new(list, true)
    }

    fn new(list: MemberList, open: bool) -> Self {
        let version = watch::Sender::new(list.version);
        Self {
            shared: Arc::new(Shared {
                current: ArcSwap::from_pointee(list),
                version,
                open,
            }),
        }
    }

    /// The list in force.
    pub fn current(&self) -> Arc<MemberList> {
        self.shared.current.load_full()
    }

    /// Puts a newer list in force and tells those who watch.
    pub fn update(&self, list: MemberList) {
        let version = list.version;
        self.shared.current.store(Arc::new(list));
        self.shared.version.send_replace(version);
    }

    /// Sees every change of the list, by version.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// Whether servers outside of the list may federate.
    pub fn is_open(&self) -> bool {
        self.shared.open
    }

    /// Whether `server` may federate at `now_ms`.
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub fn admit(&self, server: &ServerName, now_ms: u64) -> Result<(), Denial> {
        let list = self.shared.current.load();
        if list.expires_ms.is_some_and(|expiry| expiry <= now_ms) {
            return Err(Denial::ListExpired);
        }
        match list.members.get(server).map(|member| member.status) {
            Some(MemberStatus::Active) => Ok(()),
            Some(MemberStatus::Suspended) => Err(Denial::Suspended),
            Some(MemberStatus::Revoked) => Err(Denial::Revoked),
            None if self.shared.open => Ok(()),
            None => Err(Denial::Unlisted),
        }
    }
}

impl MemberList {
    /// The member of that name.
    pub fn get(&self, server: &ServerName) -> Option<&Member> {
        self.members.get(server)
    }

    /// The active members with the directory's role, in the order of their names.
    pub fn directories(&self) -> Vec<OwnedServerName> {
        let mut names: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| {
                member.role == MemberRole::Directory && member.status == MemberStatus::Active
            })
            .map(|(name, _)| name.clone())
            .collect();
        names.sort();
        names
    }
}

impl fmt::Display for MemberStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        })
    }
}
