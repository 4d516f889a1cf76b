//! From a stored event to what clients get. This is the one place that does it.

use std::{borrow::Cow, collections::BTreeMap};

use luxchat_store::{ClientRow, ReadTx, StateKeyNid};
use ruma::{RoomId, serde::Raw};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    Error, Result, Viewer,
    aggregation::{Relations, relations},
    history::History,
};

/// The fields of a stored event that clients get, borrowed from its JSON.
#[derive(Debug, Deserialize)]
pub(crate) struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) event_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) sender: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) content: &'a RawValue,
    pub(crate) state_key: Option<String>,
    pub(crate) origin_server_ts: i64,
    #[serde(borrow, default)]
    redacts: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Parses an event as stored.
    ///
    /// # Errors
    ///
    /// Where the stored JSON is damaged.
    pub(crate) fn parse(json: &'a str) -> Result<Self> {
        serde_json::from_str(json).map_err(|error| invalid("event", error))
    }
}

/// Writes events for one viewer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Composer<'c, 'tx> {
    pub(crate) tx: &'c ReadTx<'tx>,
    pub(crate) viewer: &'c Viewer,
    /// Milliseconds since the Unix epoch, for `unsigned.age`.
    pub(crate) now_ms: u64,
    /// Named in every event, except in a sync, which names it once.
    pub(crate) room_id: Option<&'c RoomId>,
}

impl Composer<'_, '_> {
    /// An event of a timeline, with all that `unsigned` can say of it.
    pub(crate) fn timeline_event<T>(
        &self,
        row: &ClientRow,
        history: &History<'_>,
    ) -> Result<Raw<T>> {
        let nothing = self.erased(row, history)?;
        let mut fields = Fields::parse(&row.json)?;
        if let Some(nothing) = &nothing {
            fields.content = nothing;
        }
        let previous = match row.state_key {
            Some(key) => self.previous_state(row, key)?,
            None => None,
        };
        let previous_fields = match &previous {
            Some(previous) => Some(Fields::parse(&previous.json)?),
            None => None,
        };
        let membership = match row.after {
            Some(at) => Some(history.membership_at(self.tx, at)?),
            None => None,
        };
        let mut unsigned = self.unsigned(row, &fields)?;
        unsigned.membership = membership.as_ref().map(|membership| membership.as_str());
        unsigned.replaces_state = previous.as_ref().map(|previous| &*previous.event_id);
        unsigned.prev_content = previous_fields.as_ref().map(|fields| fields.content);
        unsigned.prev_sender = previous_fields.as_ref().map(|fields| &*fields.sender);
        unsigned.relations = relations(self, row, history)?;
        let transaction_id = self.transaction_id(row)?;
        unsigned.transaction_id = transaction_id.as_deref();
        Ok(Raw::from_json(self.write(row, &fields, unsigned)?))
    }

    /// An event without what came before or after it: one of a room's state, or within another event.
    pub(crate) fn bare_event<T>(&self, row: &ClientRow) -> Result<Raw<T>> {
        let fields = Fields::parse(&row.json)?;
        let unsigned = self.unsigned(row, &fields)?;
        Ok(Raw::from_json(self.write(row, &fields, unsigned)?))
    }

    /// An event as servers send it to each other, with its id. A state event needs no history.
    pub(crate) fn federation_event<T>(
        &self,
        row: &ClientRow,
        history: Option<&History<'_>>,
    ) -> Result<Raw<T>> {
        let mut fields: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(&row.json).map_err(|error| invalid("event", error))?;
        let event_id = value(&row.event_id)?;
        fields.insert("event_id".into(), &event_id);
        let nothing = match history {
            Some(history) => self.erased(row, history)?,
            None => None,
        };
        if let Some(nothing) = &nothing {
            fields.insert("content".into(), nothing);
        }
        raw(&fields)
    }

    /// What is left of a message whose sender wanted their words erased before the viewer came.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate).
    pub(crate) fn erased(
        &self,
        row: &ClientRow,
        history: &History<'_>,
    ) -> Result<Option<Box<RawValue>>> {
        if row.state_key.is_some() {
            return Ok(None);
        }
        match self.tx.erased_at(row.sender)? {
            Some(at) if !history.was_joined_by(at) => value(&serde_json::Map::new()).map(Some),
            _ => Ok(None),
        }
    }

    /// Its stripped form.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#stripped-state).
    pub(crate) fn stripped<T>(row: &ClientRow) -> Result<Raw<T>> {
        #[derive(Serialize)]
        struct Stripped<'a> {
            content: &'a RawValue,
            sender: &'a str,
            state_key: Option<&'a str>,
            #[serde(rename = "type")]
            event_type: &'a str,
            /// When the room began.
            /// [MSC4311](https://github.com/matrix-org/matrix-spec-proposals/pull/4311).
            #[serde(skip_serializing_if = "Option::is_none")]
            origin_server_ts: Option<i64>,
        }
        let fields = Fields::parse(&row.json)?;
        let is_create = fields.event_type == "m.room.create";
        raw(&Stripped {
            origin_server_ts: is_create.then_some(fields.origin_server_ts),
            content: fields.content,
            sender: &fields.sender,
            state_key: fields.state_key.as_deref(),
            event_type: &fields.event_type,
        })
    }

    fn unsigned<'u>(&self, row: &ClientRow, fields: &Fields<'_>) -> Result<Unsigned<'u>> {
        let now = i64::try_from(self.now_ms).unwrap_or(i64::MAX);
        let redacted_because = match row.redacted_by {
            Some(redaction) => {
                let redaction = self.tx.client_event_by_nid(redaction)?;
                let fields = Fields::parse(&redaction.json)?;
                Some(self.write(&redaction, &fields, Unsigned::default())?)
            }
            None => None,
        };
        Ok(Unsigned {
            age: Some(now.saturating_sub(fields.origin_server_ts).max(0)),
            redacted_because,
            ..Unsigned::default()
        })
    }

    fn previous_state(&self, row: &ClientRow, key: StateKeyNid) -> Result<Option<ClientRow>> {
        let Some(before) = row.before else {
            return Ok(None);
        };
        let previous = self.tx.state_nid_at(before, key)?;
        let previous = previous.map(|event| self.tx.client_event_by_nid(event));
        Ok(previous.transpose()?)
    }

    fn transaction_id(&self, row: &ClientRow) -> Result<Option<String>> {
        if row.sender != self.viewer.user {
            return Ok(None);
        }
        let device_id = self.viewer.device_id.as_str();
        let found = self
            .tx
            .transaction_id_of(row.nid, self.viewer.user, device_id)?;
        Ok(found)
    }

    fn write(
        &self,
        row: &ClientRow,
        fields: &Fields<'_>,
        unsigned: Unsigned<'_>,
    ) -> Result<Box<RawValue>> {
        let redaction = Redaction::of(fields)?;
        value(&ClientEvent {
            content: redaction.content.as_deref().unwrap_or(fields.content),
            event_id: &row.event_id,
            origin_server_ts: fields.origin_server_ts,
            redacts: redaction.redacts.as_deref().or(fields.redacts),
            room_id: self.room_id,
            sender: &fields.sender,
            state_key: fields.state_key.as_deref(),
            event_type: &fields.event_type,
            unsigned,
        })
    }
}

#[derive(Serialize)]
struct ClientEvent<'a> {
    content: &'a RawValue,
    event_id: &'a str,
    origin_server_ts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacts: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<&'a RoomId>,
    sender: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_key: Option<&'a str>,
    #[serde(rename = "type")]
    event_type: &'a str,
    #[serde(skip_serializing_if = "Unsigned::is_empty")]
    unsigned: Unsigned<'a>,
}

#[derive(Default, Serialize)]
struct Unsigned<'a> {
    #[serde(rename = "m.relations", skip_serializing_if = "Option::is_none")]
    relations: Option<Relations>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_content: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_sender: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted_because: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces_state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<&'a str>,
}

impl Unsigned<'_> {
    fn is_empty(&self) -> bool {
        // An event has an age, or nothing to say at all.
        self.age.is_none()
    }
}

/// What a redaction names twice for clients: room versions differ in where `redacts` stands, clients need not.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#redactions).
#[derive(Default)]
struct Redaction {
    redacts: Option<Box<RawValue>>,
    content: Option<Box<RawValue>>,
}

impl Redaction {
    fn of(fields: &Fields<'_>) -> Result<Self> {
        if fields.event_type != "m.room.redaction" {
            return Ok(Self::default());
        }
        let mut content: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(fields.content.get()).map_err(|error| invalid("event", error))?;
        if let Some(redacts) = content.get("redacts") {
            return Ok(Self {
                redacts: Some(value(redacts)?),
                content: None,
            });
        }
        let Some(redacts) = fields.redacts else {
            return Ok(Self::default());
        };
        let redacts: serde_json::Value =
            serde_json::from_str(redacts.get()).map_err(|error| invalid("event", error))?;
        content.insert("redacts".to_owned(), redacts);
        Ok(Self {
            redacts: None,
            content: Some(value(&content)?),
        })
    }
}

/// JSON of a type that serialises to what `T` says it is. Nothing parses it again to find out.
pub(crate) fn raw<T>(event: &impl Serialize) -> Result<Raw<T>> {
    Ok(Raw::from_json(value(event)?))
}

pub(crate) fn value(value: &impl Serialize) -> Result<Box<RawValue>> {
    to_raw_value(value).map_err(|error| invalid("event", error))
}

fn invalid(what: &'static str, error: serde_json::Error) -> Error {
    luxchat_store::Error::invalid(what, error).into()
}
