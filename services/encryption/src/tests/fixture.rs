//! Servers with users, devices, rooms and real signatures.

use std::{collections::BTreeMap, sync::Arc};

use luxchat_federation::{Federation, MemoryNetwork};
use luxchat_store::{
    Error as StoreError, EventStatus, ManualClock, NewEvent, Pdu, Position, ReadTx, ServerNid,
    StateChange, Store, UserNid, Visibility, WriteTx,
};
use ruma::{
    EventId, OwnedDeviceId, OwnedUserId, RoomId, RoomVersionId, ServerName, UserId,
    encryption::{CrossSigningKey, DeviceKeys, OneTimeKey},
    serde::{Base64, Raw},
    signatures::{Ed25519KeyPair, KeyPair, to_canonical_json_string_for_signing},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Config, CrossSigningUpload, Encryption, KeyUpload};

/// An ed25519 key pair.
pub(super) struct Key(Ed25519KeyPair);

impl Key {
    pub(super) fn new() -> Self {
        let der = Ed25519KeyPair::generate();
        Self(Ed25519KeyPair::from_der(&der, "1".to_owned()).unwrap())
    }

    pub(super) fn public(&self) -> String {
        base64(&self.0.public_key())
    }

    /// Signs an object as `signer`, with the key named `name`.
    pub(super) fn sign(&self, object: &mut Value, signer: &UserId, name: &str) {
        let canonical = serde_json::from_value(object.clone()).unwrap();
        let signed = to_canonical_json_string_for_signing(&canonical).unwrap();
        let signature = self.0.sign(signed.as_bytes()).base64();
        object["signatures"][signer.as_str()][format!("ed25519:{name}")] = signature.into();
    }
}

/// A device with its identity.
pub(super) struct Device {
    pub(super) user: OwnedUserId,
    pub(super) id: OwnedDeviceId,
    pub(super) key: Key,
}

impl Device {
    /// Its identity keys, signed by itself.
    pub(super) fn keys(&self) -> Value {
        let mut keys = json!({
            "user_id": self.user,
            "device_id": self.id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                format!("curve25519:{}", self.id): "3C5BFWi2Y8MaVvjM8M22DBmh24PmgR0nPvJOIArzgyI",
                format!("ed25519:{}", self.id): self.key.public(),
            },
        });
        self.key.sign(&mut keys, &self.user, self.id.as_str());
        keys
    }

    /// A signed key that is told apart from others by its seed.
    pub(super) fn one_time_key(&self, seed: &str, fallback: bool) -> Raw<OneTimeKey> {
        let mut key = json!({ "key": base64(seed.as_bytes()) });
        if fallback {
            key["fallback"] = true.into();
        }
        self.key.sign(&mut key, &self.user, self.id.as_str());
        raw(&key)
    }
}

/// The cross-signing keys of a user.
pub(super) struct Identity {
    pub(super) user: OwnedUserId,
    pub(super) master: Key,
    pub(super) self_signing: Key,
    pub(super) user_signing: Key,
}

impl Identity {
    pub(super) fn new(user: &UserId) -> Self {
        Self {
            user: user.to_owned(),
            master: Key::new(),
            self_signing: Key::new(),
            user_signing: Key::new(),
        }
    }

    pub(super) fn key(&self, usage: &str, key: &Key) -> Value {
        let mut object = json!({
            "user_id": self.user,
            "usage": [usage],
            "keys": { format!("ed25519:{}", key.public()): key.public() },
        });
        if usage != "master" {
            self.master
                .sign(&mut object, &self.user, &self.master.public());
        }
        object
    }

    pub(super) fn upload(&self) -> CrossSigningUpload {
        CrossSigningUpload {
            master: Some(raw(&self.key("master", &self.master))),
            self_signing: Some(raw(&self.key("self_signing", &self.self_signing))),
            user_signing: Some(raw(&self.key("user_signing", &self.user_signing))),
        }
    }
}

/// A server with an encryption service.
pub(super) struct Server {
    pub(super) store: Store,
    pub(super) encryption: Encryption,
    pub(super) clock: Arc<ManualClock>,
    dir: TempDir,
}

impl Server {
    pub(super) fn alone() -> Self {
        Self::new("a.example", MemoryNetwork::new())
    }

    pub(super) fn new(name: &str, network: MemoryNetwork) -> Self {
        Self::open(name, network, tempfile::tempdir().unwrap())
    }

    /// The same server after a crash: what it finds on disk is what is there now.
    pub(super) fn after_a_crash(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in ["store.db", "store.db-wal"] {
            std::fs::copy(self.dir.path().join(file), dir.path().join(file)).unwrap();
        }
        let name = self.store.server_name().as_str();
        Self::open(name, MemoryNetwork::new(), dir)
    }

    fn open(name: &str, network: MemoryNetwork, dir: TempDir) -> Self {
        let name = ServerName::parse(name).unwrap();
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let mut config = luxchat_store::Config::new(dir.path().join("store.db"), name);
        config.clock = clock.clone();
        let store = Store::open(config).unwrap();
        let federation = Federation::in_memory(store.clone(), Key::new().0, network).unwrap();
        Self {
            encryption: Encryption::new(store.clone(), federation, Config::default()),
            store,
            clock,
            dir,
        }
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut WriteTx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.store.write(work).await.unwrap()
    }

    /// A local user with a device that has published its identity.
    pub(super) async fn device(&self, user: &str, device: &str) -> Device {
        let device = self.bare_device(user, device).await;
        let upload = KeyUpload {
            device_keys: Some(raw(&device.keys())),
            ..KeyUpload::default()
        };
        self.encryption
            .upload_keys(&device.user, &device.id, upload)
            .await
            .unwrap();
        device
    }

    /// A local user with a device that has published nothing.
    pub(super) async fn bare_device(&self, user: &str, device: &str) -> Device {
        let user = user_id(user);
        let id: OwnedDeviceId = device.into();
        let (insert_user, insert_id) = (user.clone(), id.clone());
        self.write(move |tx| {
            tx.insert_account(&insert_user, None, false)?;
            let nid = tx.user_nid_or_insert(&insert_user)?;
            tx.insert_device(nid, &insert_id, Some("a name"))
        })
        .await;
        Device {
            user,
            id,
            key: Key::new(),
        }
    }

    pub(super) async fn nid(&self, user: &UserId) -> UserNid {
        let user = user.to_owned();
        self.write(move |tx| tx.user_nid_or_insert(&user)).await
    }

    pub(super) async fn server_nid(&self, server: &str) -> ServerNid {
        let server = ServerName::parse(server).unwrap();
        self.write(move |tx| tx.server_nid_or_insert(&server)).await
    }

    pub(super) async fn position(&self) -> Position {
        fn newest(tx: &ReadTx<'_>) -> Result<Position, StoreError> {
            tx.position()
        }
        self.store.read(newest).await.unwrap()
    }

    /// Sets a membership in the current state of a room.
    pub(super) async fn member(&self, room: &str, user: &str, membership: &str) {
        self.members(room, &[user.to_owned()], membership).await;
    }

    pub(super) async fn members(&self, room: &str, users: &[String], membership: &str) {
        let room_id = RoomId::parse(format!("!{room}:a.example")).unwrap();
        let users: Vec<_> = users.iter().map(|user| user_id(user)).collect();
        let membership = membership.to_owned();
        self.write(move |tx| {
            for user in &users {
                set_member(tx, &room_id, user, &membership)?;
            }
            Ok(())
        })
        .await;
    }

    pub(super) async fn join(&self, room: &str, user: &str) {
        self.member(room, user, "join").await;
    }

    pub(super) async fn publish(&self, identity: &Identity) {
        self.encryption
            .upload_cross_signing(&identity.user, identity.upload(), false)
            .await
            .unwrap();
    }

    /// Uploads one-time keys of these names.
    pub(super) async fn upload_one_time_keys(&self, device: &Device, keys: &[&str]) {
        let one_time_keys = keys
            .iter()
            .map(|key| (one_time_key_id(key), device.one_time_key(key, false)))
            .collect();
        let upload = KeyUpload {
            one_time_keys,
            ..KeyUpload::default()
        };
        self.encryption
            .upload_keys(&device.user, &device.id, upload)
            .await
            .unwrap();
    }
}

fn set_member(
    tx: &mut WriteTx<'_>,
    room_id: &RoomId,
    user: &UserId,
    membership: &str,
) -> Result<(), StoreError> {
    let mut room = tx.room_or_insert(room_id, &RoomVersionId::V11)?;
    let event = json!({
        "type": "m.room.member",
        "room_id": room_id,
        "sender": user,
        "state_key": user,
        "content": { "membership": membership },
        "prev_events": [],
        "auth_events": [],
        "depth": 1,
        "origin_server_ts": 1,
        "hashes": {},
        "signatures": {},
    });
    let event_id = EventId::parse(format!("$event{}", tx.next_position())).unwrap();
    let pdu = Pdu::parse(event_id, event.to_string(), EventStatus::Accepted)?;
    let new = NewEvent {
        room: room.nid,
        pdu: &pdu,
        status: EventStatus::Accepted,
        visibility: Visibility::Newest,
        before: None,
        after: None,
        is_own: true,
        outgoing: true,
    };
    let inserted = tx.insert_event(new)?.unwrap();
    let change = StateChange {
        key: inserted.state_key.unwrap(),
        event: Some(inserted.nid),
    };
    tx.change_current_state(&mut room, &[change], inserted.seq)?;
    Ok(())
}

fn base64(bytes: &[u8]) -> String {
    Base64::<ruma::serde::base64::Standard, &[u8]>::new(bytes).encode()
}

pub(super) fn user_id(user: &str) -> OwnedUserId {
    UserId::parse(user).unwrap()
}

pub(super) fn one_time_key_id(name: &str) -> ruma::OwnedOneTimeKeyId {
    format!("signed_curve25519:{name}").try_into().unwrap()
}

pub(super) fn raw<T>(value: &Value) -> Raw<T> {
    Raw::from_json(serde_json::value::to_raw_value(value).unwrap())
}

pub(super) fn device_value(keys: &Raw<DeviceKeys>) -> Value {
    serde_json::from_str(keys.json().get()).unwrap()
}

pub(super) fn key_value(key: &Raw<CrossSigningKey>) -> Value {
    serde_json::from_str(key.json().get()).unwrap()
}

/// A query for all devices of these users.
pub(super) fn all_devices(users: &[&UserId]) -> BTreeMap<OwnedUserId, Vec<OwnedDeviceId>> {
    users
        .iter()
        .map(|user| ((*user).to_owned(), Vec::new()))
        .collect()
}
