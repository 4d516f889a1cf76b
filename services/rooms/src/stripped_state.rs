//! What those who are invited or knock may know of a room.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#stripped-state>

use luxchat_store::{ReadTx, RoomNid};
use ruma::{UserId, api::federation::membership::RawStrippedState, events::StateEventType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::Result;

/// Entries kept of another server's stripped state.
const MAX_ENTRIES: usize = 32;

/// Bytes kept of one entry.
const MAX_ENTRY_BYTES: usize = 65_536;

/// What is told, beside the membership of who invites.
const TOLD: [StateEventType; 8] = [
    StateEventType::RoomCreate,
    StateEventType::RoomJoinRules,
    StateEventType::RoomCanonicalAlias,
    StateEventType::RoomAvatar,
    StateEventType::RoomName,
    StateEventType::RoomEncryption,
    StateEventType::RoomTopic,
    StateEventType::RoomTombstone,
];

/// What this server tells of a room that it is in, as PDUs.
pub(crate) fn told(
    tx: &ReadTx<'_>,
    room: RoomNid,
    inviter: Option<&UserId>,
) -> Result<Vec<RawStrippedState>> {
    let inviter = inviter.map(|user| (StateEventType::RoomMember, user.as_str()));
    let keys = TOLD.into_iter().map(|event_type| (event_type, ""));
    let mut events = Vec::new();
    for (event_type, state_key) in keys.chain(inviter) {
        if let Some(event) = tx.current_state_event(room, &event_type, state_key)? {
            let json = RawValue::from_string(event.json)
                .map_err(|error| luxchat_store::Error::invalid("event", error))?;
            events.push(RawStrippedState::Pdu(json));
        }
    }
    Ok(events)
}

/// What another server tells, stripped for clients: a JSON array.
pub(crate) fn strip(events: &[RawStrippedState]) -> String {
    let stripped: Vec<Stripped<'_>> = events
        .iter()
        .map(text)
        .filter(|text| text.len() <= MAX_ENTRY_BYTES)
        .filter_map(|text| serde_json::from_str(text).ok())
        .map(Stripped::pruned)
        .take(MAX_ENTRIES)
        .collect();
    serde_json::to_string(&stripped).unwrap_or_else(|_| "[]".to_owned())
}

/// The JSON of an entry.
pub(crate) fn text(event: &RawStrippedState) -> &str {
    match event {
        RawStrippedState::Pdu(json) => json.get(),
        // Servers that have not heard of the change send what clients get.
        #[expect(deprecated, reason = "older servers send it")]
        RawStrippedState::Stripped(event) => event.json().get(),
        _ => "null",
    }
}

#[derive(Deserialize, Serialize)]
struct Stripped<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
    sender: &'a str,
    state_key: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    /// When the room began, for the event that it began with.
    /// [MSC4311](https://github.com/matrix-org/matrix-spec-proposals/pull/4311).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin_server_ts: Option<Value>,
}

impl Stripped<'_> {
    fn pruned(mut self) -> Self {
        let is_create = self.event_type == StateEventType::RoomCreate.to_string();
        self.origin_server_ts = self.origin_server_ts.filter(|ts| is_create && ts.is_u64());
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(value: serde_json::Value) -> RawStrippedState {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_what_clients_may_see_is_kept() {
        let event = json!({
            "type": "m.room.name", "state_key": "", "sender": "@a:one", "content": { "name": "N" },
            "auth_events": [], "prev_events": [], "hashes": {}, "signatures": {}, "depth": 3,
        });
        let stripped: serde_json::Value =
            serde_json::from_str(&strip(&[entry(event), entry(json!({ "type": 5 }))])).unwrap();
        assert_eq!(
            stripped,
            json!([{
                "type": "m.room.name", "state_key": "", "sender": "@a:one", "content": { "name": "N" },
            }])
        );
    }

    #[test]
    fn of_the_first_event_clients_learn_when_it_was() {
        let event = |event_type: &str, ts: serde_json::Value| {
            entry(json!({
                "type": event_type, "state_key": "", "sender": "@a:one", "content": {},
                "origin_server_ts": ts,
            }))
        };
        let events = [
            event("m.room.create", json!(7)),
            event("m.room.create", json!("x")),
            event("m.room.name", json!(8)),
        ];
        let stripped: Vec<serde_json::Value> = serde_json::from_str(&strip(&events)).unwrap();
        assert_eq!(stripped[0]["origin_server_ts"], 7);
        assert!(stripped[1].get("origin_server_ts").is_none());
        assert!(stripped[2].get("origin_server_ts").is_none());
    }

    #[test]
    fn entries_are_bounded() {
        let event = json!({ "type": "t", "state_key": "", "sender": "@a:one", "content": {} });
        let many: Vec<_> = (0..100).map(|_| entry(event.clone())).collect();
        let stripped: Vec<serde_json::Value> = serde_json::from_str(&strip(&many)).unwrap();
        assert_eq!(stripped.len(), MAX_ENTRIES);
    }
}
