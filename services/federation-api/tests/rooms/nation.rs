//! A few servers on a network without sockets. What a server sends reaches another when a test says so.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use luxchat_accounts::Accounts;
use luxchat_encryption::Encryption;
use luxchat_federation::{Federation, MemoryNetwork};
use luxchat_federation_api::{Config, Services, router};
use luxchat_media::Media;
use luxchat_rooms::{Join, Moderate, Received, Rooms, SendEvent};
use luxchat_store::{Clock, Event, ManualClock, Pdu, Position, Store};
use luxchat_sync::{Presence, Receipts, Typing};
use ruma::{
    CanonicalJsonObject, EventId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId,
    RoomVersionId, ServerName, UserId,
    api::client::room::create_room::v3::{Request, RoomPreset},
    events::{StateEventType, room::member::MembershipState},
    signatures::{Ed25519KeyPair, hash_and_sign_event, reference_hash},
};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};
use tempfile::TempDir;

/// Servers that reach each other.
pub(crate) struct Nation {
    pub(crate) network: MemoryNetwork,
    pub(crate) clock: Arc<ManualClock>,
}

/// One of them.
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) federation: Federation,
    clock: Arc<ManualClock>,
    /// What each other server was sent.
    cursors: Mutex<HashMap<OwnedServerName, Position>>,
    _dir: TempDir,
}

impl Nation {
    pub(crate) fn new() -> Self {
        Self {
            network: MemoryNetwork::new(),
            clock: Arc::new(ManualClock::at(1_700_000_000_000)),
        }
    }

    pub(crate) fn server(&self, name: &str) -> Server {
        let name: OwnedServerName = name.try_into().unwrap();
        let dir = TempDir::new().unwrap();
        let mut config = luxchat_store::Config::new(dir.path().join("store"), name.clone());
        config.clock = self.clock.clone();
        config.readers = 2;
        let store = Store::open(config).unwrap();
        let key = Ed25519KeyPair::from_der(&Ed25519KeyPair::generate(), "1".to_owned()).unwrap();
        let network = self.network.clone();
        let federation = Federation::in_memory(store.clone(), key, network).unwrap();
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
            encryption,
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
            federation: federation.clone(),
        };
        self.network
            .attach(name, router(services, Config::default()));
        Server {
            store,
            rooms,
            federation,
            clock: self.clock.clone(),
            cursors: Mutex::default(),
            _dir: dir,
        }
    }

    /// A server, and a user of it.
    pub(crate) async fn server_of(&self, name: &str, user: &str) -> (Server, OwnedUserId) {
        let server = self.server(name);
        let user = server.user(user).await;
        (server, user)
    }

    /// Alice's server "one", and Bob's server "two".
    pub(crate) async fn pair(&self) -> [(Server, OwnedUserId); 2] {
        [
            self.server_of("one", "alice").await,
            self.server_of("two", "bob").await,
        ]
    }

    /// A pair in a public room, which Alice made and Bob joined.
    pub(crate) async fn shared_room(
        &self,
        version: RoomVersionId,
    ) -> (OwnedRoomId, [(Server, OwnedUserId); 2]) {
        let [(one, alice), (two, bob)] = self.pair().await;
        let room = one.public_room(&alice, version).await;
        two.join(&bob, &room, &[&one]).await.unwrap();
        (room, [(one, alice), (two, bob)])
    }
}

impl Server {
    pub(crate) fn name(&self) -> &ServerName {
        self.federation.server_name()
    }

    /// A user with an account.
    pub(crate) async fn user(&self, localpart: &str) -> OwnedUserId {
        let user = UserId::parse(format!("@{localpart}:{}", self.name())).unwrap();
        let account = user.clone();
        self.store
            .write(move |tx| tx.insert_account(&account, None, false))
            .await
            .unwrap();
        user
    }

    /// A room that anyone may join.
    pub(crate) async fn public_room(
        &self,
        creator: &UserId,
        version: RoomVersionId,
    ) -> OwnedRoomId {
        self.room(creator, version, RoomPreset::PublicChat).await
    }

    pub(crate) async fn room(
        &self,
        creator: &UserId,
        version: RoomVersionId,
        preset: RoomPreset,
    ) -> OwnedRoomId {
        let mut request = Request::new();
        request.preset = Some(preset);
        request.room_version = Some(version);
        self.rooms.create(creator, request).await.unwrap()
    }

    /// Joins a user, and waits until all is known of the room.
    pub(crate) async fn join(
        &self,
        user: &UserId,
        room_id: &RoomId,
        via: &[&Server],
    ) -> luxchat_rooms::Result<()> {
        self.enter(user, room_id, via).await?;
        self.rooms.complete_due().await?;
        Ok(())
    }

    /// Joins a user.
    pub(crate) async fn enter(
        &self,
        user: &UserId,
        room_id: &RoomId,
        via: &[&Server],
    ) -> luxchat_rooms::Result<()> {
        self.tick();
        let via = via.iter().map(|server| server.name().to_owned()).collect();
        self.rooms
            .join(Join {
                user: user.to_owned(),
                room_id: room_id.to_owned(),
                via,
                reason: None,
                extra: ruma::CanonicalJsonObject::new(),
            })
            .await
    }

    pub(crate) async fn say(&self, user: &UserId, room_id: &RoomId, body: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": body });
        self.send(user, room_id, "m.room.message", None, content)
            .await
            .unwrap()
    }

    pub(crate) async fn send(
        &self,
        user: &UserId,
        room_id: &RoomId,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> luxchat_rooms::Result<OwnedEventId> {
        self.tick();
        self.rooms
            .send(SendEvent {
                sender: user.to_owned(),
                room_id: room_id.to_owned(),
                event_type: event_type.into(),
                state_key: state_key.map(ToOwned::to_owned),
                content: to_raw_value(&content).unwrap(),
                transaction: None,
            })
            .await
    }

    pub(crate) async fn name_room(&self, user: &UserId, room_id: &RoomId, name: &str) {
        let content = json!({ "name": name });
        self.send(user, room_id, "m.room.name", Some(""), content)
            .await
            .unwrap();
    }

    /// Time passes, so that no two events have the same timestamp.
    fn tick(&self) {
        self.clock.advance(Duration::from_millis(1));
    }

    /// What this server has to send to another since it was asked last.
    pub(crate) async fn outbox(&self, to: &Server) -> Vec<Box<RawValue>> {
        let name = to.name().to_owned();
        let cursor = *self
            .cursors
            .lock()
            .unwrap()
            .get(&name)
            .unwrap_or(&Position::START);
        let destination = name.clone();
        let (pdus, reached) = self
            .store
            .read(move |tx| match tx.server_nid(&destination)? {
                Some(server) => tx.outgoing_pdus(server, cursor, 10_000),
                None => Ok((Vec::new(), cursor)),
            })
            .await
            .unwrap();
        self.cursors.lock().unwrap().insert(name, reached);
        pdus.into_iter()
            .map(|(_, _, json)| RawValue::from_string(json).unwrap())
            .collect()
    }

    /// Sends another server what it has not been sent, and checks that it takes everything in.
    pub(crate) async fn deliver(&self, to: &Server) {
        let pdus = self.outbox(to).await;
        for (event_id, result) in to.receive(self, pdus).await {
            assert!(result.is_ok(), "{event_id}: {result:?}");
        }
    }

    /// Takes in PDUs as if another server sent them.
    pub(crate) async fn receive(&self, from: &Server, pdus: Vec<Box<RawValue>>) -> Received {
        let received = self.rooms.receive_pdus(from.name(), pdus, 4);
        received.await.unwrap()
    }

    /// Takes in one PDU, and says what became of it.
    pub(crate) async fn receive_one(
        &self,
        from: &Server,
        pdu: Box<RawValue>,
    ) -> Result<(), luxchat_rooms::PduError> {
        let received = self.receive(from, vec![pdu]).await;
        assert_eq!(received.len(), 1);
        received.into_values().next().unwrap()
    }

    /// The current state by type, state key and event id.
    pub(crate) async fn state(&self, room_id: &RoomId) -> BTreeMap<(String, String), OwnedEventId> {
        let room_id = room_id.to_owned();
        self.store
            .read(move |tx| {
                let room = tx.room_by_id(&room_id)?.unwrap();
                let entries = tx.current_state(room.nid)?;
                Ok::<_, luxchat_store::Error>(
                    entries
                        .into_iter()
                        .map(|entry| {
                            let key = (entry.event_type.to_string(), entry.state_key);
                            (key, entry.event_id)
                        })
                        .collect(),
                )
            })
            .await
            .unwrap()
    }

    /// The content of an event of the current state.
    pub(crate) async fn state_content(
        &self,
        room_id: &RoomId,
        event_type: StateEventType,
    ) -> Option<Value> {
        let room_id = room_id.to_owned();
        let pdu = self
            .store
            .read(move |tx| {
                let room = tx.room_by_id(&room_id)?.unwrap();
                let event = tx.current_state_event(room.nid, &event_type, "")?;
                event.map(Event::into_pdu).transpose()
            })
            .await
            .unwrap();
        pdu.map(|pdu: Pdu| pdu.content_as().unwrap())
    }

    /// What a user is to a room, as far as this server knows.
    pub(crate) async fn membership(&self, room_id: &RoomId, user: &UserId) -> MembershipState {
        let (room_id, user) = (room_id.to_owned(), user.to_owned());
        self.store
            .read(move |tx| {
                let Some(room) = tx.room_by_id(&room_id)? else {
                    return Ok(MembershipState::Leave);
                };
                let Some(user) = tx.user_nid(&user)? else {
                    return Ok(MembershipState::Leave);
                };
                let member = tx.member(room.nid, user)?;
                Ok::<_, luxchat_store::Error>(
                    member.map_or(MembershipState::Leave, |member| member.membership),
                )
            })
            .await
            .unwrap()
    }

    /// The bodies of the messages in the timeline, oldest first.
    pub(crate) async fn bodies(&self, room_id: &RoomId) -> Vec<String> {
        self.timeline(room_id)
            .await
            .into_iter()
            .filter_map(|event| {
                let content: Value = event.pdu().unwrap().content_as().unwrap();
                Some(content.get("body")?.as_str()?.to_owned())
            })
            .collect()
    }

    /// The timeline, oldest first.
    pub(crate) async fn timeline(&self, room_id: &RoomId) -> Vec<Event> {
        let room_id = room_id.to_owned();
        self.store
            .read(move |tx| {
                let room = tx.room_by_id(&room_id)?.unwrap();
                tx.timeline_forwards(room.nid, i64::MIN, i64::MAX, 100_000)
            })
            .await
            .unwrap()
    }

    /// How many forward extremities a room has.
    pub(crate) async fn tips(&self, room_id: &RoomId) -> usize {
        let room_id = room_id.to_owned();
        self.store
            .read(move |tx| {
                let room = tx.room_by_id(&room_id)?.unwrap();
                Ok::<_, luxchat_store::Error>(tx.tips(room.nid)?.len())
            })
            .await
            .unwrap()
    }

    /// An event, if it is here.
    pub(crate) async fn event(&self, room_id: &RoomId, event_id: &EventId) -> Option<Event> {
        let (room_id, event_id) = (room_id.to_owned(), event_id.to_owned());
        self.store
            .read(move |tx| {
                let room = tx.room_by_id(&room_id)?.unwrap();
                tx.event(room.nid, &event_id)
            })
            .await
            .unwrap()
    }

    /// An event on top of this server's current state, unsigned: a start for forgeries.
    pub(crate) async fn draft(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Value {
        let (id, user) = (room_id.to_owned(), sender.to_owned());
        let (tips, auth_events) = self
            .store
            .read(move |tx| {
                let room = tx.room_by_id(&id)?.unwrap();
                let by_room = room
                    .version
                    .rules()
                    .unwrap()
                    .authorization
                    .room_create_event_id_as_room_id;
                let mut keys = vec![
                    (StateEventType::RoomPowerLevels, String::new()),
                    (StateEventType::RoomMember, user.to_string()),
                ];
                if !by_room {
                    keys.push((StateEventType::RoomCreate, String::new()));
                }
                let mut auth_events = Vec::new();
                for (event_type, key) in keys {
                    let entry = tx.current_state_entry(room.nid, &event_type, &key)?;
                    auth_events.extend(entry.map(|entry| entry.event_id));
                }
                Ok::<_, luxchat_store::Error>((tx.tips(room.nid)?, auth_events))
            })
            .await
            .unwrap();
        self.tick();
        let depth = tips.iter().map(|tip| tip.depth).max().unwrap() + 1;
        let prev_events: Vec<_> = tips.into_iter().map(|tip| tip.event_id).collect();
        let mut event = json!({
            "auth_events": auth_events,
            "content": content,
            "depth": depth,
            "origin_server_ts": self.clock.now_ms(),
            "prev_events": prev_events,
            "room_id": room_id,
            "sender": sender,
            "type": event_type,
        });
        if let Some(state_key) = state_key {
            event["state_key"] = json!(state_key);
        }
        event
    }

    /// Signs an event as this server, whoever its sender is.
    pub(crate) fn sign(&self, event: &Value, version: &RoomVersionId) -> Signed {
        let mut object: CanonicalJsonObject = serde_json::from_value(event.clone()).unwrap();
        let rules = version.rules().unwrap();
        hash_and_sign_event(
            self.name().as_str(),
            self.federation.signing_key(),
            &mut object,
            &rules.redaction,
        )
        .unwrap();
        Signed::of(&object, version)
    }
}

/// A signed event.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) event_id: OwnedEventId,
    pub(crate) json: Box<RawValue>,
}

impl Signed {
    pub(crate) fn of(object: &CanonicalJsonObject, version: &RoomVersionId) -> Self {
        let hash = reference_hash(object, &version.rules().unwrap()).unwrap();
        Self {
            event_id: EventId::parse(format!("${hash}")).unwrap(),
            json: to_raw_value(object).unwrap(),
        }
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(self.json.get()).unwrap()
    }
}

pub(crate) fn moderate(sender: &UserId, room_id: &RoomId, target: &UserId) -> Moderate {
    Moderate {
        sender: sender.to_owned(),
        room_id: room_id.to_owned(),
        target: target.to_owned(),
        reason: None,
    }
}
