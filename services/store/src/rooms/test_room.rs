//! A room in memory, for tests of the tables.

use ruma::{EventId, RoomVersionId, room_id, server_name};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    Coordinate, EventNid, EventStatus, Inserted, NewEvent, Pdu, Position, Room, StateChange,
    StateKeyNid, Visibility, WriteTx, migrations::migrate, names,
};

pub(crate) struct TestRoom<'c> {
    pub(crate) tx: WriteTx<'c>,
    pub(crate) room: Room,
}

/// Runs a test on a room with an empty state.
pub(crate) fn with_room(test: impl FnOnce(TestRoom<'_>)) {
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
pub(crate) struct Fields<'a> {
    pub(crate) id: &'a str,
    pub(crate) sender: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) state_key: Option<&'a str>,
    pub(crate) content: Value,
    pub(crate) prev_events: &'a [&'a str],
    pub(crate) auth_events: &'a [&'a str],
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
    pub(crate) fn pdu(&self) -> Pdu {
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
    pub(crate) fn head(&self) -> Coordinate {
        self.room.current.unwrap()
    }

    pub(crate) fn insert(&mut self, fields: &Fields<'_>, visibility: Visibility) -> Inserted {
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
        };
        self.tx.insert_event(new).unwrap().unwrap()
    }

    pub(crate) fn say(&mut self, id: &str) -> Inserted {
        let fields = Fields {
            id,
            ..Fields::default()
        };
        self.insert(&fields, Visibility::Newest)
    }

    /// Stores a membership event as the room's current state.
    pub(crate) fn set_member(&mut self, id: &str, user: &str, membership: &str) -> Inserted {
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
    pub(crate) fn state_event(&mut self, id: &str, state_key: &str) -> (StateKeyNid, EventNid) {
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
