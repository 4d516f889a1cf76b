//! A server on a network without sockets, its sender at work.

use std::{collections::BTreeMap, time::Duration};

use luxchat_accounts::Accounts;
use luxchat_encryption::{CrossSigningUpload, CrossSigningUsage, Encryption, KeyUpload, UserKeys};
use luxchat_federation::{Federation, MemoryNetwork};
use luxchat_federation_api::{Config, Services, router};
use luxchat_media::Media;
use luxchat_rooms::{Join, Rooms};
use luxchat_store::{Error, Position, ReadTx, Store, Topic};
use luxchat_sync::{Presence, Receipts, Typing};
use ruma::{
    OwnedDeviceId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId,
    api::client::room::create_room::v3::{Request, RoomPreset},
    encryption::DeviceKeys,
    serde::Raw,
    signatures::Ed25519KeyPair,
    to_device::DeviceIdOrAllDevices,
};
use serde_json::{Value, json, value::to_raw_value};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A device of a local user.
pub(crate) struct Device {
    pub(crate) user: OwnedUserId,
    pub(crate) id: OwnedDeviceId,
}

pub(crate) struct Server {
    pub(crate) encryption: Encryption,
    store: Store,
    rooms: Rooms,
    _sender: DropGuard,
    _dir: TempDir,
}

impl Server {
    pub(crate) fn new(name: &str, network: &MemoryNetwork) -> Self {
        let name: OwnedServerName = name.try_into().unwrap();
        let dir = TempDir::new().unwrap();
        let mut config = luxchat_store::Config::new(dir.path().join("store"), name.clone());
        config.readers = 2;
        let store = Store::open(config).unwrap();
        let key = Ed25519KeyPair::from_der(&Ed25519KeyPair::generate(), "1".to_owned()).unwrap();
        let federation = Federation::in_memory(store.clone(), key, network.clone()).unwrap();
        let stop = CancellationToken::new();
        federation.start(stop.clone());
        let rooms = Rooms::new(
            store.clone(),
            federation.clone(),
            luxchat_rooms::Config::default(),
        );
        let encryption = Encryption::new(
            store.clone(),
            federation.clone(),
            luxchat_encryption::Config::default(),
        );
        let services = Services {
            store: store.clone(),
            accounts: Accounts::new(store.clone(), luxchat_accounts::Config::default()).unwrap(),
            rooms: rooms.clone(),
            encryption: encryption.clone(),
            typing: Typing::new(store.clone()),
            presence: Presence::new(store.clone(), true),
            receipts: Receipts::new(store.clone()),
            media: Media::open(
                store.clone(),
                federation.clone(),
                luxchat_media::Config::new(dir.path().join("media")),
            )
            .unwrap(),
            application_services: luxchat_application_services::ApplicationServices::new(
                store.clone(),
                Vec::new(),
            )
            .unwrap(),
            federation,
        };
        network.attach(name, router(services, Config::default()));
        Self {
            encryption,
            store,
            rooms,
            _sender: stop.drop_guard(),
            _dir: dir,
        }
    }

    /// A user with a device that has published its identity.
    pub(crate) async fn device(&self, localpart: &str, device: &str) -> Device {
        let user = UserId::parse(format!("@{localpart}:{}", self.name())).unwrap();
        let id: OwnedDeviceId = device.into();
        let (account, login) = (user.clone(), id.clone());
        self.store
            .write(move |tx| {
                tx.insert_account(&account, None, false)?;
                let account = tx.user_nid_or_insert(&account)?;
                tx.insert_device(account, &login, None)
            })
            .await
            .unwrap();
        let keys: Raw<DeviceKeys> = raw(&json!({
            "user_id": user,
            "device_id": id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
            "keys": { format!("ed25519:{id}"): "ZWQyNTUxOQ" },
            "signatures": {},
        }));
        let upload = KeyUpload {
            device_keys: Some(keys),
            ..KeyUpload::default()
        };
        self.encryption
            .upload_keys(&user, &id, upload)
            .await
            .unwrap();
        Device { user, id }
    }

    pub(crate) async fn delete_device(&self, device: &Device) {
        let (user, id) = (device.user.clone(), device.id.clone());
        self.store
            .write::<_, Error, _>(move |tx| {
                let user = tx.user_nid_or_insert(&user)?;
                tx.delete_device(user, &id)?;
                tx.delete_device_encryption(user, &id)
            })
            .await
            .unwrap();
    }

    pub(crate) async fn upload_one_time_key(&self, device: &Device, name: &str) {
        let signer = format!("ed25519:{}", device.id);
        let key = json!({
            "key": "a2V5",
            "signatures": { &device.user: { signer: "c2lnbmF0dXJl" } },
        });
        let id = format!("signed_curve25519:{name}").try_into().unwrap();
        let upload = KeyUpload {
            one_time_keys: BTreeMap::from([(id, raw(&key))]),
            ..KeyUpload::default()
        };
        self.encryption
            .upload_keys(&device.user, &device.id, upload)
            .await
            .unwrap();
    }

    pub(crate) async fn publish_master_key(&self, user: &UserId, public_key: &str) {
        let key = json!({
            "user_id": user,
            "usage": ["master"],
            "keys": { format!("ed25519:{public_key}"): public_key },
        });
        let upload = CrossSigningUpload {
            master: Some(raw(&key)),
            ..CrossSigningUpload::default()
        };
        self.encryption
            .upload_cross_signing(user, upload, false)
            .await
            .unwrap();
    }

    pub(crate) async fn public_room(&self, creator: &UserId) -> OwnedRoomId {
        let mut request = Request::new();
        request.preset = Some(RoomPreset::PublicChat);
        self.rooms.create(creator, request).await.unwrap()
    }

    pub(crate) async fn join(&self, user: &UserId, room_id: &RoomId, via: &Self) {
        let join = Join {
            user: user.to_owned(),
            room_id: room_id.to_owned(),
            via: vec![via.name().to_owned()],
            reason: None,
            extra: ruma::CanonicalJsonObject::new(),
        };
        self.rooms.join(join).await.unwrap();
    }

    pub(crate) async fn send_to_device(
        &self,
        from: &Device,
        txn_id: &str,
        to: &Device,
        content: &Value,
    ) {
        let device = DeviceIdOrAllDevices::DeviceId(to.id.clone());
        let devices = BTreeMap::from([(device, raw(content))]);
        let messages = BTreeMap::from([(to.user.clone(), devices)]);
        self.encryption
            .send_to_device(
                &from.user,
                &from.id,
                txn_id.into(),
                &"m.test".into(),
                messages,
            )
            .await
            .unwrap();
    }

    /// What waits for a device.
    pub(crate) async fn inbox(&self, device: &Device) -> Vec<Value> {
        let (user, id) = (device.user.clone(), device.id.clone());
        let batch = self
            .store
            .read::<_, Error, _>(move |tx| {
                let user = tx.user_nid(&user)?.unwrap();
                tx.to_device_messages(user, &id, Position::START, tx.position()?, 100)
            })
            .await
            .unwrap();
        let events = batch.events.iter();
        events
            .map(|event| serde_json::from_str(event.json().get()).unwrap())
            .collect()
    }

    /// How many messages wait for another server.
    pub(crate) async fn outbox(&self, to: &Self) -> usize {
        let to = to.name().to_owned();
        self.store
            .read::<_, Error, _>(move |tx| {
                let server = tx.server_nid(&to)?.unwrap();
                let waiting = tx.to_device_outbox(server, Position::START, tx.position()?, 100)?;
                Ok(waiting.edus.len())
            })
            .await
            .unwrap()
    }

    /// The devices of a user as another one sees them.
    pub(crate) async fn devices_of(&self, user: &UserId, viewer: &Device) -> Vec<OwnedDeviceId> {
        let keys = self.keys_of(user, viewer).await;
        keys.devices.into_keys().collect()
    }

    pub(crate) async fn master_key_of(&self, user: &UserId, viewer: &Device) -> Option<String> {
        let mut keys = self.keys_of(user, viewer).await;
        let master = keys.cross_signing.remove(&CrossSigningUsage::Master)?;
        Some(master.key_id)
    }

    /// The users whose keys changed for a user since a position.
    pub(crate) async fn changes(&self, user: &UserId, since: Position) -> Vec<OwnedUserId> {
        let now = self.position().await;
        let changes = self.encryption.key_changes(user, since, now).await;
        changes.unwrap().changed
    }

    pub(crate) async fn position(&self) -> Position {
        fn newest(tx: &ReadTx<'_>) -> Result<Position, Error> {
            tx.position()
        }
        self.store.read(newest).await.unwrap()
    }

    /// Waits until something is so, looking again whenever something changes for the device's user.
    pub(crate) async fn wait_for(&self, device: &Device, is_so: impl AsyncFn() -> bool) {
        let user = device.user.clone();
        let topics = self
            .store
            .read::<_, Error, _>(move |tx| {
                let user = tx.user_nid(&user)?.unwrap();
                let joined =
                    tx.rooms_of_user(user, &ruma::events::room::member::MembershipState::Join)?;
                let rooms = joined.into_iter().map(Topic::Room);
                Ok(rooms.chain([Topic::User(user)]).collect::<Vec<_>>())
            })
            .await
            .unwrap();
        let changes = self.store.listen(topics);
        let waiting = async {
            while !is_so().await {
                // Acknowledgements of other servers are announced to nobody.
                let pause = Duration::from_millis(20);
                let _ = tokio::time::timeout(pause, changes.changed()).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting)
            .await
            .expect("what was waited for happens");
    }

    fn name(&self) -> &ServerName {
        self.store.server_name()
    }

    async fn keys_of(&self, user: &UserId, viewer: &Device) -> UserKeys {
        let query = BTreeMap::from([(user.to_owned(), Vec::new())]);
        let queried = self.encryption.query_keys(&viewer.user, query, None).await;
        queried.unwrap().users.remove(user).unwrap()
    }
}

fn raw<T>(value: &Value) -> Raw<T> {
    Raw::from_json(to_raw_value(value).unwrap())
}
