//! Receipts and typing notifications.

use std::collections::{BTreeMap, btree_map::Entry};

use luxchat_store::Receipt;
use ruma::{
    OwnedUserId, UserId, api::client::filter::RoomEventFilter, events::AnySyncEphemeralRoomEvent,
    events::receipt::ReceiptType, serde::Raw,
};
use serde::Serialize;

use crate::{Result, client_event::raw, filter::wants_type};

/// What happened in a room that leaves no trace in it.
pub(crate) fn events(
    filter: &RoomEventFilter,
    viewer: &UserId,
    receipts: &[Receipt],
    typing: Option<&[OwnedUserId]>,
    is_ignored: impl Fn(&UserId) -> bool,
) -> Result<Vec<Raw<AnySyncEphemeralRoomEvent>>> {
    let mut events = Vec::new();
    if let Some(users) = typing
        && wants_type(filter, "m.typing")
    {
        let users = users.iter().filter(|user| !is_ignored(user));
        events.push(event(
            "m.typing",
            Typing {
                user_ids: users.collect(),
            },
        )?);
    }
    let mut content = ReceiptContent::new();
    for receipt in receipts {
        let is_private = receipt.receipt_type == ReceiptType::ReadPrivate;
        if is_private && receipt.user_id != viewer || is_ignored(&receipt.user_id) {
            continue;
        }
        let of_event = content.entry(receipt.event_id.as_str()).or_default();
        let of_type = of_event.entry(receipt.receipt_type.as_str()).or_default();
        let data = ReceiptData {
            ts: receipt.ts.get().into(),
            thread_id: receipt.thread.as_str(),
        };
        // There is place for one of a user at an event: the one for the whole room says more than any thread's.
        match of_type.entry(receipt.user_id.as_str()) {
            Entry::Vacant(entry) => {
                entry.insert(data);
            }
            Entry::Occupied(mut entry) if data.thread_id.is_none() => {
                entry.insert(data);
            }
            Entry::Occupied(_) => {}
        }
    }
    if !content.is_empty() && wants_type(filter, "m.receipt") {
        events.push(event("m.receipt", content)?);
    }
    Ok(events)
}

/// Event id to receipt type to user id to receipt.
type ReceiptContent<'a> = BTreeMap<&'a str, BTreeMap<&'a str, BTreeMap<&'a str, ReceiptData<'a>>>>;

#[derive(Serialize)]
struct ReceiptData<'a> {
    ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Typing<'a> {
    user_ids: Vec<&'a OwnedUserId>,
}

fn event<T>(event_type: &str, content: impl Serialize) -> Result<Raw<T>> {
    #[derive(Serialize)]
    struct Event<'a, C> {
        content: C,
        #[serde(rename = "type")]
        event_type: &'a str,
    }
    raw(&Event {
        content,
        event_type,
    })
}
