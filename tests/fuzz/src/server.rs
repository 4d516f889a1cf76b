use std::{path::Path, sync::Arc};

use axum::Router;
use luxchat_accounts::Accounts;
use luxchat_application_services::ApplicationServices;
use luxchat_encryption::Encryption;
use luxchat_federation::{Federation, MemoryNetwork};
use luxchat_federation_api::{Config, Services, router};
use luxchat_media::Media;
use luxchat_rooms::Rooms;
use luxchat_store::{Clock, ManualClock, Store};
use luxchat_sync::{Presence, Receipts, Typing};
use ruma::{OwnedServerName, OwnedUserId, UserId, signatures::Ed25519KeyPair};

/// What stands before the 32 bytes of an Ed25519 key in PKCS#8.
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A whole server behind its federation routes, without a listener.
pub struct Server {
    pub store: Store,
    pub rooms: Rooms,
    pub federation: Federation,
    pub router: Router,
}

/// The signing key of a server: always the same for its name, so that an input does the same in every run.
pub fn key(server: &str) -> Ed25519KeyPair {
    let mut der = PKCS8.to_vec();
    der.extend(server.bytes().chain([0; 32]).take(32));
    Ed25519KeyPair::from_der(&der, "1".to_owned()).expect("the key is well-formed")
}

/// An empty store for `name`.
pub(crate) fn open_store(name: &str, folder: &Path, clock: &Arc<ManualClock>) -> Store {
    let name: OwnedServerName = name.try_into().expect("the name is well-formed");
    let mut config = luxchat_store::Config::new(folder.join(name.as_str()), name);
    config.clock = Arc::clone(clock) as Arc<dyn Clock>;
    config.readers = 1;
    Store::open(config).expect("the folder is new")
}

impl Server {
    /// A server in `folder`, attached to `network`.
    pub fn new(
        name: &str,
        folder: &Path,
        clock: &Arc<ManualClock>,
        network: &MemoryNetwork,
    ) -> Self {
        let store = open_store(name, folder, clock);
        let federation = Federation::in_memory(store.clone(), key(name), network.clone())
            .expect("the key's version is well-formed");
        let rooms = Rooms::new(
            store.clone(),
            federation.clone(),
            luxchat_rooms::Config::default(),
        );
        let media = luxchat_media::Config::new(folder.join("media"));
        let services = Services {
            accounts: Accounts::new(store.clone(), luxchat_accounts::Config::default())
                .expect("the default configuration holds"),
            rooms: rooms.clone(),
            encryption: Encryption::new(
                store.clone(),
                federation.clone(),
                luxchat_encryption::Config::default(),
            ),
            typing: Typing::new(store.clone()),
            presence: Presence::new(store.clone(), true),
            receipts: Receipts::new(store.clone()),
            media: Media::open(store.clone(), federation.clone(), media)
                .expect("the folder can be written to"),
            application_services: ApplicationServices::new(store.clone(), Vec::new())
                .expect("there are none"),
            federation: federation.clone(),
            store: store.clone(),
        };
        let config = Config {
            remember_transactions: std::time::Duration::from_secs(10),
            ..Config::default()
        };
        let router = router(services, config);
        network.attach(store.server_name().to_owned(), router.clone());
        Self {
            store,
            rooms,
            federation,
            router,
        }
    }

    /// A user with an account.
    pub async fn user(&self, localpart: &str) -> OwnedUserId {
        let user = format!("@{localpart}:{}", self.store.server_name());
        let user = UserId::parse(user).expect("the localpart is well-formed");
        let account = user.clone();
        self.store
            .write(move |tx| tx.insert_account(&account, None, false))
            .await
            .expect("the user is new");
        user
    }
}
