//! Rooms on a throwaway store, for tests.

use std::{ops::Deref, sync::Arc};

use luxchat_federation::Federation;
use luxchat_store::{Config as StoreConfig, ManualClock, Pdu, Store};
use ruma::{
    OwnedEventId, OwnedUserId, RoomId, RoomVersionId, UserId,
    api::client::room::create_room::v3::Request,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
    owned_server_name,
    signatures::Ed25519KeyPair,
};
use serde_json::{Value, value::to_raw_value};
use tempfile::TempDir;

use crate::{Config, Moderate, Result, Rooms, SendEvent};

/// Milliseconds since the Unix epoch at which tests begin.
pub(crate) const START: u64 = 1_700_000_000_000;

/// A server named `one` that reaches no other.
pub(crate) struct TestRooms {
    pub(crate) rooms: Rooms,
    pub(crate) clock: Arc<ManualClock>,
    _dir: TempDir,
}

impl Deref for TestRooms {
    type Target = Rooms;

    fn deref(&self) -> &Rooms {
        &self.rooms
    }
}

impl TestRooms {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let mut config = StoreConfig::new(dir.path().join("store"), owned_server_name!("one"));
        config.clock = clock.clone();
        let store = Store::open(config).unwrap();
        let key = Ed25519KeyPair::from_der(&Ed25519KeyPair::generate(), "1".to_owned()).unwrap();
        let federation = Federation::local_only(store.clone(), key).unwrap();
        Self {
            rooms: Rooms::new(store, federation, Config::default()),
            clock,
            _dir: dir,
        }
    }

    /// A room that anyone may join.
    pub(crate) async fn public_room(
        &self,
        creator: &UserId,
        version: RoomVersionId,
    ) -> ruma::OwnedRoomId {
        let mut request = Request::new();
        request.preset = Some(ruma::api::client::room::create_room::v3::RoomPreset::PublicChat);
        request.room_version = Some(version);
        self.create(creator, request).await.unwrap()
    }

    pub(crate) async fn say(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        body: &str,
    ) -> Result<OwnedEventId> {
        let content = serde_json::json!({ "msgtype": "m.text", "body": body });
        self.send(SendEvent {
            sender: sender.to_owned(),
            room_id: room_id.to_owned(),
            event_type: TimelineEventType::RoomMessage,
            state_key: None,
            content: to_raw_value(&content).unwrap(),
            transaction: None,
        })
        .await
    }

    pub(crate) async fn set_state(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        event_type: &str,
        content: Value,
    ) -> Result<OwnedEventId> {
        self.send(SendEvent {
            sender: sender.to_owned(),
            room_id: room_id.to_owned(),
            event_type: event_type.into(),
            state_key: Some(String::new()),
            content: to_raw_value(&content).unwrap(),
            transaction: None,
        })
        .await
    }

    pub(crate) async fn enter(&self, user: &UserId, room_id: &RoomId) -> Result<()> {
        self.join(crate::Join {
            user: user.to_owned(),
            room_id: room_id.to_owned(),
            via: Vec::new(),
            reason: None,
            extra: ruma::CanonicalJsonObject::new(),
        })
        .await
    }

    /// The event at a type and state key of the current state.
    pub(crate) async fn state(
        &self,
        room_id: &RoomId,
        event_type: StateEventType,
        state_key: &str,
    ) -> Option<Pdu> {
        let (room_id, state_key) = (room_id.to_owned(), state_key.to_owned());
        self.store
            .read(move |tx| {
                let room = tx.room_by_id(&room_id)?.unwrap();
                let event = tx.current_state_event(room.nid, &event_type, &state_key)?;
                event.map(luxchat_store::Event::into_pdu).transpose()
            })
            .await
            .unwrap()
    }

    pub(crate) async fn membership(&self, room_id: &RoomId, user: &UserId) -> MembershipState {
        let event = self
            .state(room_id, StateEventType::RoomMember, user.as_str())
            .await;
        event
            .and_then(|event| event.membership().cloned())
            .unwrap_or(MembershipState::Leave)
    }

    pub(crate) async fn event(&self, room_id: &RoomId, event_id: &ruma::EventId) -> Option<Pdu> {
        let (room_id, event_id) = (room_id.to_owned(), event_id.to_owned());
        self.store
            .read(move |tx| {
                let room = tx.room_by_id(&room_id)?.unwrap();
                tx.pdu(room.nid, &event_id)
            })
            .await
            .unwrap()
    }
}

pub(crate) fn user(localpart: &str) -> OwnedUserId {
    UserId::parse(format!("@{localpart}:one")).unwrap()
}

pub(crate) fn moderate(sender: &str, room_id: &RoomId, target: &str) -> Moderate {
    Moderate {
        sender: user(sender),
        room_id: room_id.to_owned(),
        target: user(target),
        reason: None,
    }
}

pub(crate) fn content(pdu: &Pdu) -> Value {
    pdu.content_as().unwrap()
}
