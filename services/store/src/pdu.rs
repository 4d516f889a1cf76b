//! A persistent data unit: one event of a room, parsed once.

use std::fmt;

use ruma::{
    CanonicalJsonObject, EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId,
    OwnedUserId, RoomId, UserId,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
    state_res,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Error, EventStatus, Result};

/// An event with the fields that the server works with, and its canonical JSON as it is stored and sent.
#[derive(Clone)]
pub struct Pdu {
    event_id: OwnedEventId,
    room_id: OwnedRoomId,
    names_room: bool,
    sender: OwnedUserId,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    event_type: TimelineEventType,
    state_key: Option<String>,
    membership: Option<MembershipState>,
    redacts: Option<OwnedEventId>,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    depth: i64,
    content: Box<RawValue>,
    json: String,
    status: EventStatus,
}

impl Pdu {
    /// Parses canonical JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where a field is missing or has the wrong type.
    pub fn parse(event_id: OwnedEventId, json: String, status: EventStatus) -> Result<Self> {
        let fields: Fields<'_> =
            serde_json::from_str(&json).map_err(|error| Error::invalid("event", error))?;
        let is_member = fields.event_type == TimelineEventType::RoomMember;
        let membership = (is_member && fields.state_key.is_some())
            .then(|| content::<Membership>(fields.content))
            .flatten()
            .map(|content| content.membership);
        let redacts = (fields.event_type == TimelineEventType::RoomRedaction)
            .then(|| content::<Redacts>(fields.content))
            .flatten()
            .map(|content| content.redacts)
            .or(fields.redacts);
        let names_room = fields.room_id.is_some();
        let room_id = match fields.room_id {
            Some(room_id) => room_id,
            None => created_room(&event_id, &fields.event_type)?,
        };
        Ok(Self {
            room_id,
            names_room,
            sender: fields.sender,
            origin_server_ts: fields.origin_server_ts,
            event_type: fields.event_type,
            state_key: fields.state_key,
            membership,
            redacts,
            prev_events: fields.prev_events,
            auth_events: fields.auth_events,
            depth: fields.depth,
            content: fields.content.to_owned(),
            event_id,
            json,
            status,
        })
    }

    /// The same from an object, which [`parse`](Self::parse) serialises for.
    pub fn from_object(
        event_id: OwnedEventId,
        object: &CanonicalJsonObject,
        status: EventStatus,
    ) -> Result<Self> {
        let json = serde_json::to_string(object).map_err(|error| Error::invalid("event", error))?;
        Self::parse(event_id, json, status)
    }

    /// The event's id: its reference hash.
    pub fn event_id(&self) -> &EventId {
        &self.event_id
    }

    /// The room. The `m.room.create` event of room version 12 and later does not name it: its own hash does.
    pub fn room_id(&self) -> &RoomId {
        &self.room_id
    }

    /// Who sent it.
    pub fn sender(&self) -> &UserId {
        &self.sender
    }

    /// The origin's clock when it was made.
    pub fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.origin_server_ts
    }

    /// The event's type.
    pub fn event_type(&self) -> &TimelineEventType {
        &self.event_type
    }

    /// The state key; `None` for a message event.
    pub fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }

    /// Type and state key of a state event.
    pub fn state_entry(&self) -> Option<(StateEventType, &str)> {
        let state_key = self.state_key.as_deref()?;
        Some((self.event_type.to_string().into(), state_key))
    }

    /// Whether this is the state event of that type and key.
    pub fn is_state(&self, event_type: &TimelineEventType, state_key: &str) -> bool {
        self.event_type == *event_type && self.state_key.as_deref() == Some(state_key)
    }

    /// `content.membership` of an `m.room.member` state event.
    pub fn membership(&self) -> Option<&MembershipState> {
        self.membership.as_ref()
    }

    /// The event that a redaction redacts, wherever its room version puts it.
    pub fn redacts(&self) -> Option<&EventId> {
        self.redacts.as_deref()
    }

    /// The events before it.
    pub fn prev_events(&self) -> &[OwnedEventId] {
        &self.prev_events
    }

    /// The events that authorise it.
    pub fn auth_events(&self) -> &[OwnedEventId] {
        &self.auth_events
    }

    /// One more than the largest depth among the events before it, as its origin says.
    pub fn depth(&self) -> i64 {
        self.depth
    }

    /// The content as it stands in the JSON.
    pub fn content(&self) -> &RawValue {
        &self.content
    }

    /// The content as `T`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where it is no `T`: nothing but what the auth rules look at is checked in events of others.
    pub fn content_as<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_str(self.content.get())
            .map_err(|error| Error::invalid("event content", error))
    }

    /// Canonical JSON, signatures included, event id and `unsigned` not.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The JSON as an object.
    pub fn to_object(&self) -> Result<CanonicalJsonObject> {
        serde_json::from_str(&self.json).map_err(|error| Error::invalid("event", error))
    }

    /// Whether the event passed the checks.
    pub fn status(&self) -> EventStatus {
        self.status
    }
}

impl fmt::Debug for Pdu {
    // No content: what is printed ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pdu")
            .field("event_id", &self.event_id)
            .field("event_type", &self.event_type)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl state_res::Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &Self::Id {
        &self.event_id
    }

    fn room_id(&self) -> Option<&RoomId> {
        // The rules ask what the event says, not what follows from it.
        self.names_room.then_some(&*self.room_id)
    }

    fn sender(&self) -> &UserId {
        &self.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.origin_server_ts
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.event_type
    }

    fn content(&self) -> &RawValue {
        &self.content
    }

    fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &Self::Id> + '_> {
        Box::new(self.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &Self::Id> + '_> {
        Box::new(self.auth_events.iter())
    }

    fn redacts(&self) -> Option<&Self::Id> {
        self.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.status == EventStatus::Rejected
    }
}

#[derive(Deserialize)]
struct Fields<'a> {
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    #[serde(rename = "type")]
    event_type: TimelineEventType,
    state_key: Option<String>,
    redacts: Option<OwnedEventId>,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    depth: i64,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct Membership {
    membership: MembershipState,
}

#[derive(Deserialize)]
struct Redacts {
    redacts: OwnedEventId,
}

fn content<'a, T: Deserialize<'a>>(content: &'a RawValue) -> Option<T> {
    serde_json::from_str(content.get()).ok()
}

fn created_room(event_id: &EventId, event_type: &TimelineEventType) -> Result<OwnedRoomId> {
    if *event_type != TimelineEventType::RoomCreate {
        return Err(Error::invalid("event", "missing field `room_id`"));
    }
    let hash = event_id.as_str().trim_start_matches('$');
    RoomId::new_v2(hash).map_err(|error| Error::invalid("event id", error))
}

#[cfg(test)]
mod tests {
    use ruma::owned_event_id;
    use serde_json::json;
    use state_res::Event as _;

    use super::*;

    fn parse(extra: serde_json::Value) -> Result<Pdu> {
        let mut event = json!({
            "sender": "@a:one", "origin_server_ts": 5, "type": "m.room.create", "state_key": "",
            "prev_events": [], "auth_events": [], "depth": 1, "content": {},
        });
        let fields = event.as_object_mut().unwrap();
        fields.extend(extra.as_object().unwrap().clone());
        let id = owned_event_id!("$acR1l0raoZnm60CBwAVgqbZqoO_mYU81xysh1u7XcJk");
        Pdu::parse(id, event.to_string(), EventStatus::Accepted)
    }

    #[test]
    fn a_create_event_without_room_is_the_room() {
        let pdu = parse(json!({})).unwrap();
        assert_eq!(
            pdu.room_id(),
            "!acR1l0raoZnm60CBwAVgqbZqoO_mYU81xysh1u7XcJk"
        );
        assert_eq!(state_res::Event::room_id(&pdu), None);
    }

    #[test]
    fn only_a_create_event_may_lack_the_room() {
        let error = parse(json!({ "type": "m.room.topic" })).unwrap_err();
        assert!(error.to_string().contains("room_id"));
    }

    #[test]
    fn a_redaction_names_its_target_in_either_place() {
        let target = "$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg";
        let room = json!({ "type": "m.room.redaction", "room_id": "!r:one" });
        for place in [
            json!({ "redacts": target }),
            json!({ "content": { "redacts": target } }),
        ] {
            let mut fields = room.clone();
            let map = fields.as_object_mut().unwrap();
            map.extend(place.as_object().unwrap().clone());
            assert_eq!(parse(fields).unwrap().redacts().unwrap(), target);
        }
    }

    #[test]
    fn membership_is_that_of_state_events_alone() {
        let member = json!({ "type": "m.room.member", "room_id": "!r:one", "content": { "membership": "ban" } });
        let pdu = parse(member).unwrap();
        assert_eq!(pdu.membership(), Some(&MembershipState::Ban));
        assert!(!pdu.rejected());
    }
}
