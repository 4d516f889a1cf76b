//! What is worth nothing later: who types, and who has read what.
//! [Spec](https://spec.matrix.org/v1.19/application-service-api/#pushing-ephemeral-data).

use std::collections::HashSet;

use luxchat_store::{Position, ReadTx, Receipt, RoomNid};
use ruma::{OwnedUserId, events::receipt::ReceiptType};
use serde_json::{Map, Value, json};

use crate::{
    Result, Service,
    interest::{Interest, OwnUsers},
};

/// Rooms looked at for one transaction; in others nobody is told of typing.
const MAX_ROOMS: usize = 100;

/// Receipts of one room in one transaction.
const MAX_RECEIPTS: u32 = 100;

/// Who is typing, as another service knows.
pub trait Typists: Send + Sync + std::fmt::Debug {
    /// Who types in a room, where that changed after a position.
    fn changed_since(&self, room: RoomNid, since: Position) -> Option<Vec<OwnedUserId>>;
}

/// What happened in `rooms` after a position and concerns a service.
pub(crate) fn read(
    tx: &ReadTx<'_>,
    service: &Service,
    own: &OwnUsers,
    typists: &dyn Typists,
    rooms: &HashSet<RoomNid>,
    since: Position,
) -> Result<Vec<Value>> {
    let mut interest = Interest::new(tx, service, own);
    let mut events = Vec::new();
    for room in rooms.iter().take(MAX_ROOMS) {
        let typing = typists.changed_since(*room, since);
        let receipts = tx.room_receipts(*room, since, MAX_RECEIPTS)?;
        if (typing.is_none() && receipts.is_empty()) || !interest.has_room(*room)? {
            continue;
        }
        let room_id = tx.room(*room)?.room_id;
        if let Some(users) = typing {
            events.push(json!({
                "type": "m.typing",
                "room_id": room_id,
                "content": { "user_ids": users },
            }));
        }
        let content = receipt_content(service, receipts);
        if !content.is_empty() {
            events.push(json!({ "type": "m.receipt", "room_id": room_id, "content": content }));
        }
    }
    Ok(events)
}

fn receipt_content(service: &Service, receipts: Vec<Receipt>) -> Map<String, Value> {
    let mut content = Map::new();
    for receipt in receipts {
        let is_private = receipt.receipt_type == ReceiptType::ReadPrivate;
        if is_private && !service.owns_user(&receipt.user_id) {
            continue;
        }
        let mut data = json!({ "ts": receipt.ts });
        if let Some(thread) = receipt.thread.as_str() {
            data["thread_id"] = thread.into();
        }
        let event = content.entry(receipt.event_id.as_str());
        let event = event.or_insert_with(|| json!({}));
        event[receipt.receipt_type.as_str()][receipt.user_id.as_str()] = data;
    }
    content
}
