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
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<&'a str>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    unread: Option<u64>,
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

/// A notification, as it is sent.
#[derive(Debug)]
pub(crate) struct Composed {
    pub(crate) body: Bytes,
    /// How much it says is unread.
    pub(crate) unread: u64,
}

impl Push {
    /// What a pusher's gateway is told when the user has read: a number, and nothing to wake a phone for.
    pub(crate) fn compose_count(&self, tx: &ReadTx<'_>, pusher: &Pusher) -> Result<Composed> {
        let unread = self.unread_everywhere(tx, pusher)?;
        let notification = Notification {
            event_id: None,
            room_id: None,
            details: None,
            prio: "low",
            // Without a number nothing would take away the last one.
            counts: Counts {
                unread: Some(unread),
            },
            devices: [Device::of(pusher, Map::new())?],
        };
        compose(notification, unread)
    }

    /// What a pusher's gateway is told of an event.
    pub(crate) fn compose(
        &self,
        tx: &ReadTx<'_>,
        pusher: &Pusher,
        row: &ClientRow,
        verdict: &Verdict,
    ) -> Result<Composed> {
        let event: Fields<'_> = serde_json::from_str(&row.json).map_err(invalid)?;
        let room_id = tx.room_id(row.room)?;
        let device = Device::of(pusher, tweaks(&verdict.actions))?;
        // A phone that sleeps is only woken for what a person may wait for.
        let is_urgent = event.event_type == "m.room.encrypted"
            || verdict.is_highlight
            || device.tweaks.contains_key("sound");
        let wants_all = device.data.get("format").is_none();
        let details = if self.shared.config.full_events && wants_all {
            Some(details(tx, pusher, row, &event)?)
        } else {
            None
        };
        let unread = self.unread_everywhere(tx, pusher)?;
        let notification = Notification {
            event_id: Some(&row.event_id),
            room_id: Some(room_id.as_str()),
            details,
            prio: if is_urgent { "high" } else { "low" },
            counts: Counts {
                unread: Some(unread).filter(|unread| *unread > 0),
            },
            devices: [device],
        };
        compose(notification, unread)
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

impl<'a> Device<'a> {
    fn of(pusher: &'a Pusher, tweaks: Map<String, Value>) -> Result<Self> {
        let settings = &pusher.settings;
        Ok(Self {
            app_id: &settings.app_id,
            pushkey: &settings.pushkey,
            pushkey_ts: pusher.set_ts / 1_000,
            data: serde_json::from_str(&settings.data).map_err(invalid)?,
            tweaks,
        })
    }
}

fn compose(notification: Notification<'_>, unread: u64) -> Result<Composed> {
    let body = serde_json::to_vec(&Body { notification }).map_err(invalid)?;
    Ok(Composed {
        body: body.into(),
        unread,
    })
}

fn invalid(error: serde_json::Error) -> luxchat_store::Error {
    luxchat_store::Error::invalid("notification", error)
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
