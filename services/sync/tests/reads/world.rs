//! A server with a few users and rooms, whose events are put straight into the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use luxchat_store::{
    Config, Coordinate, EventStatus, ManualClock, NewEvent, Pdu, Position, StateChange, Store,
    Topic, UserNid, Visibility, WriteTx,
};
use luxchat_sync::{Presence, Receipts, Sync, SyncRequest, SyncToken, Typing, Viewer};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, RoomId, RoomVersionId, UserId,
    api::client::{filter::FilterDefinition, sync::sync_events::v3},
    room_id, server_name, user_id,
};
use serde_json::{Value, json};

pub(crate) fn alice() -> &'static UserId {
    user_id!("@alice:one")
}

pub(crate) fn bob() -> &'static UserId {
    user_id!("@bob:one")
}

pub(crate) fn eve() -> &'static UserId {
    user_id!("@eve:two")
}

pub(crate) fn the_room() -> &'static RoomId {
    room_id!("!room:one")
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) sync: Sync,
    pub(crate) typing: Typing,
    pub(crate) receipts: Receipts,
    events: AtomicU64,
    _dir: tempfile::TempDir,
}

/// An event to put at the end of a room.
#[derive(Clone, Debug)]
pub(crate) struct Put<'a> {
    pub(crate) room: &'a RoomId,
    pub(crate) sender: &'a UserId,
    pub(crate) event_type: &'a str,
    pub(crate) state_key: Option<&'a str>,
    pub(crate) content: Value,
    pub(crate) prev_events: Vec<&'a str>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("db"), server_name!("one").to_owned());
        config.readers = 1;
        config.clock = Arc::new(ManualClock::at(1_000_000));
        let store = Store::open(config).unwrap();
        for user in [alice(), bob()] {
            store
                .write::<_, luxchat_store::Error, _>(move |tx| {
                    let nid = tx.insert_account(user, None, false)?.unwrap();
                    tx.insert_device(nid, "DEVICE".into(), None)
                })
                .await
                .unwrap();
        }
        let typing = Typing::new(store.clone());
        let presence = Presence::new(store.clone(), true);
        Self {
            sync: Sync::new(store.clone(), typing.clone(), presence),
            receipts: Receipts::new(store.clone()),
            typing,
            store,

            events: AtomicU64::new(0),
            _dir: dir,
        }
    }

    /// The same with a room that Alice made.
    pub(crate) async fn with_room() -> Self {
        let world = Self::new().await;
        world.room(the_room(), alice(), "shared").await;
        world
    }

    pub(crate) async fn room(&self, room: &RoomId, creator: &UserId, visibility: &str) {
        let id = room.to_owned();
        let version = RoomVersionId::V11;
        self.store
            .write(move |tx| tx.insert_room(&id, &version))
            .await
            .unwrap();
        let state = [
            ("m.room.create", "", json!({ "room_version": "11" })),
            (
                "m.room.member",
                creator.as_str(),
                json!({ "membership": "join" }),
            ),
            (
                "m.room.power_levels",
                "",
                json!({ "users": { creator: 100 } }),
            ),
            ("m.room.join_rules", "", json!({ "join_rule": "public" })),
            (
                "m.room.history_visibility",
                "",
                json!({ "history_visibility": visibility }),
            ),
        ];
        for (event_type, state_key, content) in state {
            self.state(room, creator, event_type, state_key, content)
                .await;
        }
    }

    pub(crate) async fn message(&self, room: &RoomId, sender: &UserId, body: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": body });
        self.event(room, sender, "m.room.message", content).await
    }

    pub(crate) async fn event(
        &self,
        room: &RoomId,
        sender: &UserId,
        event_type: &str,
        content: Value,
    ) -> OwnedEventId {
        self.put(Put {
            room,
            sender,
            event_type,
            state_key: None,
            content,
            prev_events: Vec::new(),
        })
        .await
    }

    pub(crate) async fn state(
        &self,
        room: &RoomId,
        sender: &UserId,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> OwnedEventId {
        self.put(Put {
            room,
            sender,
            event_type,
            state_key: Some(state_key),
            content,
            prev_events: Vec::new(),
        })
        .await
    }

    pub(crate) async fn member(
        &self,
        room: &RoomId,
        sender: &UserId,
        target: &UserId,
        membership: &str,
    ) -> OwnedEventId {
        let content = json!({ "membership": membership });
        self.state(room, sender, "m.room.member", target.as_str(), content)
            .await
    }

    /// Puts a state event where the room stood `behind` changes ago, and lets it lose against the current state.
    pub(crate) async fn put_beside(
        &self,
        sender: &UserId,
        event_type: &str,
        content: Value,
        behind: i64,
    ) -> OwnedEventId {
        let event_id: OwnedEventId = "$beside".try_into().unwrap();
        let event = json!({
            "room_id": the_room(), "sender": sender, "type": event_type, "state_key": "", "content": content,
            "origin_server_ts": 900_000, "prev_events": [], "auth_events": [], "depth": 1,
        });
        let pdu = Pdu::parse(event_id.clone(), event.to_string(), EventStatus::Accepted).unwrap();
        self.store
            .write(move |tx| insert_beside(tx, &pdu, behind))
            .await
            .unwrap();
        event_id
    }

    pub(crate) async fn put(&self, put: Put<'_>) -> OwnedEventId {
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        let event_id = EventId::parse(format!("$event{number}")).unwrap();
        let mut event = json!({
            "room_id": put.room, "sender": put.sender, "type": put.event_type, "content": put.content,
            "origin_server_ts": 900_000 + number, "prev_events": put.prev_events, "auth_events": [],
            "depth": number + 1,
        });
        if let Some(state_key) = put.state_key {
            event["state_key"] = state_key.into();
        }
        let pdu = Pdu::parse(event_id.clone(), event.to_string(), EventStatus::Accepted).unwrap();
        let room_id = put.room.to_owned();
        self.store
            .write(move |tx| insert(tx, &room_id, &pdu))
            .await
            .unwrap();
        event_id
    }

    pub(crate) async fn viewer(&self, user_id: &UserId) -> Viewer {
        let id = user_id.to_owned();
        let user: UserNid = self
            .store
            .write(move |tx| tx.user_nid_or_insert(&id))
            .await
            .unwrap();
        Viewer {
            user_id: user_id.to_owned(),
            user,
            device_id: "DEVICE".into(),
        }
    }

    pub(crate) async fn position(&self) -> SyncToken {
        let position: Position = self.store.read(|tx| tx.position()).await.unwrap();
        SyncToken::at(position)
    }

    /// A sync that does not wait.
    pub(crate) async fn sync(&self, user: &UserId, request: SyncRequest) -> v3::Response {
        let viewer = self.viewer(user).await;
        self.sync.sync_v3(viewer, request).await.unwrap()
    }

    pub(crate) async fn initial(&self, user: &UserId) -> v3::Response {
        self.sync(user, SyncRequest::default()).await
    }

    pub(crate) async fn since(&self, user: &UserId, since: SyncToken) -> v3::Response {
        self.sync(user, since_request(since, json!({}))).await
    }
}

pub(crate) fn since_request(since: SyncToken, filter: Value) -> SyncRequest {
    SyncRequest {
        since: Some(since),
        ..filtered(filter)
    }
}

pub(crate) fn filtered(filter: Value) -> SyncRequest {
    let filter: FilterDefinition = serde_json::from_value(filter).unwrap();
    SyncRequest {
        filter,
        timeout: Duration::ZERO,
        ..SyncRequest::default()
    }
}

pub(crate) fn token(response: &v3::Response) -> SyncToken {
    response.next_batch.parse().unwrap()
}

pub(crate) fn joined<'r>(response: &'r v3::Response, room: &RoomId) -> &'r v3::JoinedRoom {
    &response.rooms.join[room]
}

/// Events as plain JSON.
pub(crate) fn plain<T>(events: &[ruma::serde::Raw<T>]) -> Vec<Value> {
    let events = events.iter();
    events
        .map(|event| serde_json::from_str(event.json().get()).unwrap())
        .collect()
}

/// `body` of messages, type of all else.
pub(crate) fn bodies<T>(events: &[ruma::serde::Raw<T>]) -> Vec<String> {
    plain(events)
        .iter()
        .map(|event| {
            let body = event["content"]["body"].as_str();
            body.or(event["type"].as_str()).unwrap().to_owned()
        })
        .collect()
}

pub(crate) fn state_events(state: &v3::State) -> Vec<Value> {
    match state {
        v3::State::Before(state) | v3::State::After(state) => plain(&state.events),
        _ => panic!("unknown kind of state"),
    }
}

pub(crate) fn room_id(id: &str) -> OwnedRoomId {
    id.try_into().unwrap()
}

fn insert(tx: &mut WriteTx<'_>, room_id: &RoomId, pdu: &Pdu) -> luxchat_store::Result<()> {
    let mut room = tx.room_by_id(room_id)?.unwrap();
    let head = match room.current {
        Some(head) => head,
        None => tx.open_main_chain(room.nid)?,
    };
    room.current = Some(head);
    let is_own = tx
        .user_nid(pdu.sender())?
        .is_some_and(|user| tx.is_local_user(user).unwrap());
    let after = Coordinate {
        chain: head.chain,
        ord: head.ord + i64::from(pdu.state_key().is_some()),
    };
    let inserted = tx
        .insert_event(NewEvent {
            room: room.nid,
            pdu,
            status: EventStatus::Accepted,
            visibility: Visibility::Newest,
            before: Some(head),
            after: Some(after),
            is_own,
            outgoing: is_own,
        })?
        .unwrap();
    if let Some(key) = inserted.state_key {
        let event = Some(inserted.nid);
        tx.change_current_state(&mut room, &[StateChange { key, event }], inserted.seq)?;
    }
    tx.note_missing_prevs(room.nid, inserted.nid, pdu.event_id(), pdu.prev_events())?;
    tx.announce(Topic::Room(room.nid));
    Ok(())
}

fn insert_beside(tx: &mut WriteTx<'_>, pdu: &Pdu, behind: i64) -> luxchat_store::Result<()> {
    let room = tx.room_by_id(pdu.room_id())?.unwrap();
    let head = room.current.unwrap();
    let before = Coordinate {
        chain: head.chain,
        ord: head.ord - behind,
    };
    let after = tx.fork_coordinate(&room, before)?;
    let inserted = tx
        .insert_event(NewEvent {
            room: room.nid,
            pdu,
            status: EventStatus::Accepted,
            visibility: Visibility::Newest,
            before: Some(before),
            after: Some(after),
            is_own: false,
            outgoing: false,
        })?
        .unwrap();
    let change = StateChange {
        key: inserted.state_key.unwrap(),
        event: Some(inserted.nid),
    };
    tx.record_changes(after, &[change], inserted.seq)?;
    tx.announce(Topic::Room(room.nid));
    Ok(())
}
