//! A room in memory, for tests of the tables.

use ruma::{EventId, RoomVersionId, room_id, server_name};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    Coordinate, EventNid, EventStatus, Inserted, NewEvent, Pdu, Position, Room, StateChange,
    StateKeyNid, Visibility, WriteTx, migrations::migrate, names,
};

pub(super) struct TestRoom<'c> {
    pub(super) tx: WriteTx<'c>,
    pub(super) room: Room,
}

/// Runs a test on a room with an empty state.
pub(super) fn with_room(test: impl FnOnce(TestRoom<'_>)) {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection).unwrap();
    names::claim(&connection, server_name!("one")).unwrap();
    let mut tx = WriteTx::new(&connection, Position::START, 1_000);
    let room_id = room_id!("!room:one");
    let room = tx.room_or_insert(room_id, &RoomVersionId::V11).unwrap();
    tx.open_main_chain(room.nid).unwrap();
    let room = tx.room(room.nid).unwrap();
    test(TestRoom { tx, room });
}

/// An event as it is stored; parents and auth events are by id.
pub(super) struct Fields<'a> {
    pub(super) id: &'a str,
    pub(super) sender: &'a str,
    pub(super) event_type: &'a str,
    pub(super) state_key: Option<&'a str>,
    pub(super) content: Value,
    pub(super) prev_events: &'a [&'a str],
    pub(super) auth_events: &'a [&'a str],
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self {
            id: "$event",
            sender: "@alice:one",
            event_type: "m.room.message",
            state_key: None,
            content: json!({}),
            prev_events: &[],
            auth_events: &[],
        }
    }
}

impl Fields<'_> {
    pub(super) fn pdu(&self) -> Pdu {
        let mut event = json!({
            "room_id": "!room:one", "sender": self.sender, "origin_server_ts": 1, "type": self.event_type,
            "prev_events": self.prev_events, "auth_events": self.auth_events, "depth": 1, "content": self.content,
        });
        if let Some(state_key) = self.state_key {
            event["state_key"] = json!(state_key);
        }
        let event_id = EventId::parse(self.id).unwrap();
        Pdu::parse(event_id, event.to_string(), EventStatus::Accepted).unwrap()
    }
}

impl TestRoom<'_> {
    pub(super) fn head(&self) -> Coordinate {
        self.room.current.unwrap()
    }

    pub(super) fn insert(&mut self, fields: &Fields<'_>, visibility: Visibility) -> Inserted {
        let is_own = fields.sender.ends_with(":one");
        let new = NewEvent {
            room: self.room.nid,
            pdu: &fields.pdu(),
            status: EventStatus::Accepted,
            visibility,
            before: Some(self.head()),
            after: Some(self.head()),
            is_own,
            outgoing: is_own,
            notifies: false,
        };
        self.tx.insert_event(new).unwrap().unwrap()
    }

    pub(super) fn say(&mut self, id: &str) -> Inserted {
        let fields = Fields {
            id,
            ..Fields::default()
        };
        self.insert(&fields, Visibility::Newest)
    }

    /// Stores a membership event as the room's current state.
    pub(super) fn set_member(&mut self, id: &str, user: &str, membership: &str) -> Inserted {
        let fields = Fields {
            id,
            sender: "@alice:one",
            event_type: "m.room.member",
            state_key: Some(user),
            content: json!({ "membership": membership }),
            ..Fields::default()
        };
        let inserted = self.insert(&fields, Visibility::Newest);
        let change = StateChange {
            key: inserted.state_key.unwrap(),
            event: Some(inserted.nid),
        };
        self.tx
            .change_current_state(&mut self.room, &[change], inserted.seq)
            .unwrap();
        inserted
    }

    /// A state event with a key of its own, stored without effect.
    pub(super) fn state_event(&mut self, id: &str, state_key: &str) -> (StateKeyNid, EventNid) {
        let fields = Fields {
            id,
            event_type: "org.example.state",
            state_key: Some(state_key),
            ..Fields::default()
        };
        let inserted = self.insert(&fields, Visibility::Hidden);
        (inserted.state_key.unwrap(), inserted.nid)
    }
}
