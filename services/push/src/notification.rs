//! What a gateway is told.
//!
//! <https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify>

use bytes::Bytes;
use luxchat_store::{ClientRow, Pusher, ReadTx};
use ruma::{
    events::{StateEventType, room::member::MembershipState},
    push::Action,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::{Push, Result, evaluate::Verdict};

#[derive(Serialize)]
struct Body<'a> {
    notification: Notification<'a>,
}

#[derive(Serialize)]
struct Notification<'a> {
    event_id: &'a str,
    room_id: &'a str,
    #[serde(flatten)]
    details: Option<Details<'a>>,
    prio: &'static str,
    counts: Counts,
    devices: [Device<'a>; 1],
}

/// What may be left out.
#[derive(Serialize)]
struct Details<'a> {
    #[serde(rename = "type")]
    event_type: String,
    sender: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_alias: Option<String>,
    user_is_target: bool,
    content: &'a RawValue,
}

#[derive(Serialize)]
struct Counts {
    #[serde(skip_serializing_if = "is_zero")]
    unread: u64,
}

// Serde hands over references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Serialize)]
struct Device<'a> {
    app_id: &'a str,
    pushkey: &'a str,
    pushkey_ts: u64,
    data: Value,
    tweaks: Map<String, Value>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type")]
    event_type: String,
    sender: String,
    #[serde(default)]
    state_key: Option<String>,
    #[serde(borrow)]
    content: &'a RawValue,
}

impl Push {
    /// What a pusher's gateway is told of an event.
    pub(crate) fn compose(
        &self,
        tx: &ReadTx<'_>,
        pusher: &Pusher,
        row: &ClientRow,
        verdict: &Verdict,
    ) -> Result<Bytes> {
        let invalid = |error: serde_json::Error| luxchat_store::Error::invalid("event", error);
        let event: Fields<'_> = serde_json::from_str(&row.json).map_err(invalid)?;
        let room_id = tx.room_id(row.room)?;
        let settings = &pusher.settings;
        let data: Value = serde_json::from_str(&settings.data).map_err(invalid)?;
        let tweaks = tweaks(&verdict.actions);
        // A phone that sleeps is only woken for what a person may wait for.
        let is_urgent = event.event_type == "m.room.encrypted"
            || verdict.is_highlight
            || tweaks.contains_key("sound");
        let wants_all = data.get("format").is_none();
        let details = if self.shared.config.full_events && wants_all {
            Some(details(tx, pusher, row, &event)?)
        } else {
            None
        };
        let body = Body {
            notification: Notification {
                event_id: &row.event_id,
                room_id: room_id.as_str(),
                details,
                prio: if is_urgent { "high" } else { "low" },
                counts: Counts {
                    unread: self.unread_everywhere(tx, pusher)?,
                },
                devices: [Device {
                    app_id: &settings.app_id,
                    pushkey: &settings.pushkey,
                    pushkey_ts: pusher.set_ts / 1_000,
                    data,
                    tweaks,
                }],
            },
        };
        Ok(serde_json::to_vec(&body).map_err(invalid)?.into())
    }

    /// The number on the app's icon.
    fn unread_everywhere(&self, tx: &ReadTx<'_>, pusher: &Pusher) -> Result<u64> {
        let mut unread = 0;
        for room in tx.rooms_of_user(pusher.user, &MembershipState::Join)? {
            unread += self.count(tx, pusher.user, room)?.total().notifications;
        }
        Ok(unread)
    }
}

fn details<'a>(
    tx: &ReadTx<'_>,
    pusher: &Pusher,
    row: &ClientRow,
    event: &Fields<'a>,
) -> Result<Details<'a>> {
    let field = |event_type: StateEventType, state_key: &str, field: &str| -> Result<_> {
        let state = tx.current_state_event(row.room, &event_type, state_key)?;
        let state: Option<Value> = state.and_then(|state| serde_json::from_str(&state.json).ok());
        Ok(state.and_then(|state| Some(state["content"].get(field)?.as_str()?.to_owned())))
    };
    Ok(Details {
        sender_display_name: field(StateEventType::RoomMember, &event.sender, "displayname")?,
        room_name: field(StateEventType::RoomName, "", "name")?,
        room_alias: field(StateEventType::RoomCanonicalAlias, "", "alias")?,
        user_is_target: row.is_membership
            && event.state_key.as_deref() == Some(pusher.user_id.as_str()),
        event_type: event.event_type.clone(),
        sender: event.sender.clone(),
        content: event.content,
    })
}

fn tweaks(actions: &[Action]) -> Map<String, Value> {
    let mut tweaks = Map::new();
    for action in actions {
        let Ok(Value::Object(action)) = serde_json::to_value(action) else {
            continue;
        };
        if let Some(Value::String(name)) = action.get("set_tweak") {
            let value = action.get("value").cloned().unwrap_or(Value::Bool(true));
            tweaks.insert(name.clone(), value);
        }
    }
    tweaks
}
