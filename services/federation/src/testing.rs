//! A small nation for the tests of this crate: an authority, boxes with keys and certificates, and a members list.

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use jiff::Timestamp;
use luxchat_bundle::{
    BoxKeys, Bundle, CertificateAuthority, LeafCertificate, Member, Members, Role, Status, Validity,
};
use luxchat_http::{Listening, listen};
use luxchat_store::{Clock, ManualClock, Store};
use ruma::{OwnedServerName, ServerName, signatures::Ed25519KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Config, Federation, Identity, TlsIdentity};

/// When the nation's clocks stand, in milliseconds since the Unix epoch.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millisecond(i64::try_from(NOW_MS).unwrap()).unwrap()
}

/// The national authority.
pub(crate) struct Nation {
    pub(crate) authority: CertificateAuthority,
    version: std::cell::Cell<u64>,
}

/// A server with its keys, its certificate and a listener.
pub(crate) struct TestBox {
    pub(crate) name: OwnedServerName,
    pub(crate) keys: BoxKeys,
    pub(crate) certificate: LeafCertificate,
    pub(crate) address: SocketAddr,
    pub(crate) clock: Arc<ManualClock>,
    listener: Option<std::net::TcpListener>,
    folder: TempDir,
}

impl Nation {
    pub(crate) fn new() -> Self {
        Self::named("Test authority")
    }

    pub(crate) fn named(authority: &str) -> Self {
        let validity = Validity::days_from(now(), 3_650).unwrap();
        Self {
            authority: CertificateAuthority::generate(authority, validity).unwrap(),
            version: std::cell::Cell::new(0),
        }
    }

    /// A box with a certificate that is valid from `from` for `days`.
    pub(crate) fn make_box_valid(&self, name: &str, from: Timestamp, days: u32) -> TestBox {
        let folder = TempDir::new().unwrap();
        let keys = BoxKeys::generate(folder.path()).unwrap();
        let request = keys.certificate_request(&name.parse().unwrap()).unwrap();
        let validity = Validity::days_from(from, days).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        TestBox {
            name: ServerName::parse(name).unwrap(),
            certificate: self.authority.issue(&request, validity).unwrap(),
            keys,
            address: listener.local_addr().unwrap(),
            clock: Arc::new(ManualClock::at(NOW_MS)),
            listener: Some(listener),
            folder,
        }
    }

    pub(crate) fn make_box(&self, name: &str) -> TestBox {
        self.make_box_valid(name, now(), 30)
    }

    /// The next version of the members list.
    pub(crate) fn list(&self, members: &[(&TestBox, Status)]) -> Bundle {
        self.version.set(self.version.get() + 1);
        let members = members
            .iter()
            .map(|(server, status)| server.member(status.clone()))
            .collect();
        let authorities = vec![self.authority.certificate().clone()];
        Bundle {
            members: Members::new(now(), authorities, members).unwrap(),
            version: self.version.get(),
            root_version: 1,
            expires: now() + jiff::SignedDuration::from_hours(24),
        }
    }
}

impl TestBox {
    pub(crate) fn member(&self, status: Status) -> Member {
        Member {
            server_name: self.name.as_str().parse().unwrap(),
            display_name: self.name.to_string(),
            role: Role::Ministry,
            endpoints: vec![self.address.into()],
            tls: luxchat_bundle::TlsIdentity::default(),
            signing_keys: [(
                self.keys.signing_key_id().clone(),
                self.keys.signing_public_key(),
            )]
            .into(),
            old_signing_keys: std::collections::BTreeMap::new(),
            status,
        }
    }

    pub(crate) fn tls(&self) -> TlsIdentity {
        TlsIdentity {
            chain: vec![self.certificate.der().clone()],
            key: self.keys.tls_key(),
        }
    }

    pub(crate) fn federation(&self, list: Bundle) -> Federation {
        self.federation_with(Some(list), &Config::default())
    }

    pub(crate) fn federation_with(&self, list: Option<Bundle>, config: &Config) -> Federation {
        let path = self.folder.path().join("store.db");
        let mut store = luxchat_store::Config::new(path, self.name.clone());
        store.clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let store = Store::open(store).unwrap();
        let version = self.keys.signing_key_id().version().to_owned();
        let key = Ed25519KeyPair::from_der(&self.keys.signing_key_pkcs8(), version).unwrap();
        let identity = Identity::new(self.name.clone(), key).unwrap();
        Federation::new(store, identity.with_tls(self.tls()), list, config).unwrap()
    }

    /// Serves `router` on the box's address until the token is dropped.
    pub(crate) fn serve(&mut self, federation: &Federation, router: Router) -> CancellationToken {
        let listener = TcpListener::from_std(self.listener.take().unwrap()).unwrap();
        let stop = CancellationToken::new();
        let handshake = federation.mutual_tls().unwrap();
        let listening = Listening::default();
        tokio::spawn(listen(listener, handshake, router, listening, stop.clone()));
        stop
    }
}

pub(crate) fn active() -> Status {
    Status::Active {}
}

pub(crate) fn revoked() -> Status {
    Status::Revoked {
        reason: "stolen".to_owned(),
        since: now(),
    }
}

pub(crate) fn suspended() -> Status {
    Status::Suspended {
        reason: "audit".to_owned(),
        since: now(),
    }
}
