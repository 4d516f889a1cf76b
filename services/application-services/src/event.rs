//! From a stored event to what a service gets: the format of the client-server API.

use std::borrow::Cow;

use luxchat_store::{ClientRow, EventNid, ReadTx};
use ruma::RoomId;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::Result;

#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(borrow, rename = "type")]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    sender: Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
    state_key: Option<String>,
    origin_server_ts: i64,
    #[serde(borrow, default)]
    redacts: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Composed<'a> {
    content: &'a RawValue,
    event_id: &'a str,
    origin_server_ts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacts: Option<&'a RawValue>,
    room_id: &'a RoomId,
    sender: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_key: Option<&'a str>,
    #[serde(rename = "type")]
    event_type: &'a str,
    unsigned: Unsigned<'a>,
}

#[derive(Serialize)]
struct Unsigned<'a> {
    age: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_content: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces_state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invite_room_state: Option<&'a RawValue>,
}

/// The `content` of a redaction, where rooms of version 11 and later name the event that goes.
#[derive(Deserialize)]
struct RedactionContent<'a> {
    #[serde(borrow, default)]
    redacts: Option<&'a RawValue>,
}

/// An event for a service, as of `now_ms`.
///
/// # Errors
///
/// Where the stored JSON is damaged.
pub(crate) fn compose(tx: &ReadTx<'_>, event: EventNid, now_ms: u64) -> Result<Box<RawValue>> {
    let row = tx.client_event_by_nid(event)?;
    let room_id = tx.room(row.room)?.room_id;
    let fields: Stored<'_> = parse(&row.json)?;
    let previous = previous_state(tx, &row)?;
    let previous_fields: Option<Stored<'_>> = match &previous {
        Some(previous) => Some(parse(&previous.json)?),
        None => None,
    };
    let stripped = invite_room_state(tx, &row)?;
    let redacts = match &*fields.event_type {
        "m.room.redaction" => {
            let content: RedactionContent<'_> = parse(fields.content.get())?;
            fields.redacts.or(content.redacts)
        }
        _ => fields.redacts,
    };
    let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let event = Composed {
        content: fields.content,
        event_id: &row.event_id,
        origin_server_ts: fields.origin_server_ts,
        redacts,
        room_id: &room_id,
        sender: &fields.sender,
        state_key: fields.state_key.as_deref(),
        event_type: &fields.event_type,
        unsigned: Unsigned {
            age: now.saturating_sub(fields.origin_server_ts).max(0),
            prev_content: previous_fields.as_ref().map(|fields| fields.content),
            replaces_state: previous.as_ref().map(|previous| &*previous.event_id),
            invite_room_state: stripped.as_deref(),
        },
    };
    Ok(to_raw_value(&event).map_err(|error| luxchat_store::Error::invalid("event", error))?)
}

fn previous_state(tx: &ReadTx<'_>, row: &ClientRow) -> Result<Option<ClientRow>> {
    let Some((before, key)) = row.before.zip(row.state_key) else {
        return Ok(None);
    };
    let previous = tx.state_nid_at(before, key)?;
    let previous = previous.map(|event| tx.client_event_by_nid(event));
    Ok(previous.transpose()?)
}

/// What an invited user may see of a room elsewhere.
fn invite_room_state(tx: &ReadTx<'_>, row: &ClientRow) -> Result<Option<Box<RawValue>>> {
    if row.before.is_some() || !row.is_membership {
        return Ok(None);
    }
    #[derive(Deserialize)]
    struct Target {
        state_key: ruma::OwnedUserId,
    }
    let target: Target = parse(&row.json)?;
    let Some(user) = tx.user_nid(&target.state_key)? else {
        return Ok(None);
    };
    let Some(json) = tx.stripped_state(row.room, user)? else {
        return Ok(None);
    };
    let raw = RawValue::from_string(json)
        .map_err(|error| luxchat_store::Error::invalid("stripped state", error))?;
    Ok(Some(raw))
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T> {
    Ok(
        serde_json::from_str(json)
            .map_err(|error| luxchat_store::Error::invalid("event", error))?,
    )
}
