//! Making events for this server's users.

use std::sync::Arc;

use luxchat_store::{EventStatus, Pdu, ReadTx, Room, Tip};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, EventId, Int, OwnedEventId, OwnedUserId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
    signatures::{JsonError, hash_and_sign_event, reference_hash},
    state_res::auth_types_for_event,
};
use serde_json::value::RawValue;

use crate::{Authorised, Error, Result, Rooms, rules_of};

/// Extremities that one event joins.
///
/// <https://spec.matrix.org/v1.19/rooms/v12/#event-format>
const PREV_EVENTS: usize = 20;

/// Longest event in bytes of canonical JSON.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#size-limits>
const EVENT_BYTES: usize = 65_535;

/// Longest type, state key, sender and room id in bytes.
const FIELD_BYTES: usize = 255;

/// What a user of this server wants to say in a room.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) sender: OwnedUserId,
    pub(crate) event_type: TimelineEventType,
    pub(crate) state_key: Option<String>,
    pub(crate) content: CanonicalJsonObject,
    /// Outside the content, for rooms of versions before 11.
    pub(crate) redacts: Option<OwnedEventId>,
}

/// A draft on top of a room's current state: an event but for hash and signature.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) object: CanonicalJsonObject,
    /// The state that authorises it, the create event included.
    pub(crate) auth_state: Vec<Arc<Pdu>>,
}

impl Draft {
    /// A state event.
    pub(crate) fn state(
        sender: &ruma::UserId,
        event_type: StateEventType,
        state_key: &str,
        content: CanonicalJsonObject,
    ) -> Self {
        Self {
            sender: sender.to_owned(),
            event_type: event_type.to_string().into(),
            state_key: Some(state_key.to_owned()),
            content,
            redacts: None,
        }
    }

    /// The fields that do not depend on the room.
    fn object(&self, now_ms: u64) -> Result<CanonicalJsonObject> {
        let event_type = self.event_type.to_string();
        let fields = [Some(&event_type), self.state_key.as_ref()];
        if let Some(field) = fields.into_iter().flatten().find(|f| f.len() > FIELD_BYTES) {
            let length = field.len();
            return Err(Error::TooLarge(format!(
                "a type or state key of {length} bytes exceeds {FIELD_BYTES}"
            )));
        }
        let now = Int::try_from(now_ms).map_err(|error| Error::Internal(error.to_string()))?;
        let mut object = CanonicalJsonObject::from([
            ("content".to_owned(), self.content.clone().into()),
            ("origin_server_ts".to_owned(), now.into()),
            ("sender".to_owned(), self.sender.to_string().into()),
            ("type".to_owned(), event_type.into()),
        ]);
        if let Some(state_key) = &self.state_key {
            object.insert("state_key".to_owned(), state_key.clone().into());
        }
        if let Some(redacts) = &self.redacts {
            object.insert("redacts".to_owned(), redacts.to_string().into());
        }
        Ok(object)
    }
}

impl Rooms {
    /// A draft on top of a room's current state, unsigned: what another server signs for its user, or this one for its own.
    pub(crate) fn template(
        &self,
        tx: &ReadTx<'_>,
        room: &Room,
        draft: &Draft,
        now_ms: u64,
    ) -> Result<Template> {
        let rules = rules_of(&room.version)?;
        let mut tips = tx.tips(room.nid)?;
        // The deepest first: what is left over is joined by the events after this one.
        tips.truncate(PREV_EVENTS);
        let auth_state = self.auth_state(tx, room, draft, &rules)?;
        let auth_events = auth_state.iter().filter(|event| {
            !(rules.authorization.room_create_event_id_as_room_id
                && *event.event_type() == TimelineEventType::RoomCreate)
        });
        let mut object = draft.object(now_ms)?;
        object.insert(
            "auth_events".to_owned(),
            ids(auth_events.map(|event| event.event_id())),
        );
        object.insert("depth".to_owned(), depth(&tips).into());
        object.insert(
            "prev_events".to_owned(),
            ids(tips.iter().map(|tip| &*tip.event_id)),
        );
        object.insert("room_id".to_owned(), room.room_id.to_string().into());
        Ok(Template { object, auth_state })
    }

    /// Builds, signs and authorises an event on top of a room's current state.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] by the auth rules, [`Error::TooLarge`] by the size limits.
    pub(crate) fn build(
        &self,
        tx: &ReadTx<'_>,
        room: &Room,
        draft: &Draft,
        now_ms: u64,
    ) -> Result<Authorised> {
        let rules = rules_of(&room.version)?;
        let template = self.template(tx, room, draft, now_ms)?;
        let pdu = self.sign(template.object, &rules)?;
        authorise(&rules, pdu, &template.auth_state)
    }

    /// Builds the event that a room begins with. In room version 12 its hash is the room's id, else it names `room_id`.
    pub(crate) fn build_create(
        &self,
        draft: &Draft,
        room_id: Option<&ruma::RoomId>,
        rules: &RoomVersionRules,
        now_ms: u64,
    ) -> Result<Authorised> {
        let mut object = draft.object(now_ms)?;
        object.insert(
            "auth_events".to_owned(),
            CanonicalJsonValue::Array(Vec::new()),
        );
        object.insert("depth".to_owned(), Int::from(1).into());
        object.insert(
            "prev_events".to_owned(),
            CanonicalJsonValue::Array(Vec::new()),
        );
        if let Some(room_id) = room_id {
            object.insert("room_id".to_owned(), room_id.to_string().into());
        }
        let pdu = self.sign(object, rules)?;
        authorise(rules, pdu, &[])
    }

    /// Hashes and signs a whole event, and computes its id.
    pub(crate) fn sign(
        &self,
        mut object: CanonicalJsonObject,
        rules: &RoomVersionRules,
    ) -> Result<Pdu> {
        let server_name = self.server_name().as_str();
        hash_and_sign_event(
            server_name,
            self.federation.signing_key(),
            &mut object,
            &rules.redaction,
        )
        .map_err(json_error)?;
        let hash = reference_hash(&object, rules).map_err(json_error)?;
        let event_id =
            EventId::new_v2_or_v3(&hash).map_err(|error| Error::Internal(error.to_string()))?;
        let pdu = Pdu::from_object(event_id, &object, EventStatus::Accepted)?;
        match pdu.json().len() {
            0..=EVENT_BYTES => Ok(pdu),
            length => Err(Error::TooLarge(format!(
                "an event of {length} bytes exceeds {EVENT_BYTES}"
            ))),
        }
    }

    /// The events of a room's current state that authorise a draft, the create event among them.
    fn auth_state(
        &self,
        tx: &ReadTx<'_>,
        room: &Room,
        draft: &Draft,
        rules: &RoomVersionRules,
    ) -> Result<Vec<Arc<Pdu>>> {
        let content = raw(&draft.content)?;
        let mut keys = auth_types_for_event(
            &draft.event_type,
            &draft.sender,
            draft.state_key.as_deref(),
            &content,
            &rules.authorization,
        )
        .map_err(Error::BadJson)?;
        if rules.authorization.room_create_event_id_as_room_id {
            keys.push((StateEventType::RoomCreate, String::new()));
        }
        let mut events = Vec::with_capacity(keys.len());
        for (event_type, state_key) in keys {
            events.extend(self.current_event(tx, room, &event_type, &state_key)?);
        }
        Ok(events)
    }

    /// An event of a room's current state, parsed once for many uses.
    pub(crate) fn current_event(
        &self,
        tx: &ReadTx<'_>,
        room: &Room,
        event_type: &StateEventType,
        state_key: &str,
    ) -> Result<Option<Arc<Pdu>>> {
        let Some(entry) = tx.current_state_entry(room.nid, event_type, state_key)? else {
            return Ok(None);
        };
        // A redaction changes what an event id stands for.
        if !entry.is_redacted
            && let Some(pdu) = self.auth_cache.get(&entry.event_id)
        {
            return Ok(Some(pdu));
        }
        let pdu = Arc::new(tx.event_by_nid(entry.event)?.into_pdu()?);
        if !entry.is_redacted {
            self.auth_cache.insert(entry.event_id, Arc::clone(&pdu));
        }
        Ok(Some(pdu))
    }
}

/// Content that a client sent, as canonical JSON.
///
/// # Errors
///
/// [`Error::BadJson`] where it is no object or holds what canonical JSON does not know: fractions, large numbers.
pub(crate) fn canonical(content: &RawValue) -> Result<CanonicalJsonObject> {
    serde_json::from_str(content.get()).map_err(|error| Error::BadJson(error.to_string()))
}

fn raw(content: &CanonicalJsonObject) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(content).map_err(|error| Error::BadJson(error.to_string()))
}

pub(crate) fn authorise(
    rules: &RoomVersionRules,
    pdu: Pdu,
    state: &[Arc<Pdu>],
) -> Result<Authorised> {
    let find = |event_type: &StateEventType, state_key: &str| {
        let event_type = event_type.to_string().into();
        let is_it = |event: &&Arc<Pdu>| event.is_state(&event_type, state_key);
        state.iter().find(is_it).cloned()
    };
    Authorised::own(&rules.authorization, Arc::new(pdu), find).map_err(Error::Forbidden)
}

fn ids<'a>(events: impl Iterator<Item = &'a EventId>) -> CanonicalJsonValue {
    CanonicalJsonValue::Array(events.map(|event| event.to_string().into()).collect())
}

fn depth(tips: &[Tip]) -> Int {
    let deepest = tips.iter().map(|tip| tip.depth).max().unwrap_or(0);
    // A depth at the limit (some server's mistake) stays there.
    Int::try_from(deepest.saturating_add(1)).unwrap_or(Int::MAX)
}

fn json_error(error: JsonError) -> Error {
    match error {
        JsonError::PduTooLarge => Error::TooLarge(error.to_string()),
        other => Error::BadJson(other.to_string()),
    }
}
