//! What is worth nothing later: who types, who has read what, and who is there.
//! [Spec](https://spec.matrix.org/v1.19/application-service-api/#pushing-ephemeral-data).

use std::collections::HashSet;

use luxchat_store::{Position, ReadTx, Receipt, RoomNid, UserNid};
use ruma::{
    OwnedUserId,
    events::{receipt::ReceiptType, room::member::MembershipState},
};
use serde_json::{Map, Value, json};

use crate::{
    Result, Service,
    interest::{Interest, OwnUsers},
};

/// Rooms looked at for one transaction; in others nobody is told of typing.
const MAX_ROOMS: usize = 100;

/// Receipts of one room in one transaction.
const MAX_RECEIPTS: u32 = 100;

/// Users whose presence is told in one transaction.
const MAX_PRESENT: usize = 100;

/// What others know that is not in the store.
pub trait Live: Send + Sync + std::fmt::Debug {
    /// Who types in a room, where that changed after a position.
    fn typing(&self, room: RoomNid, since: Position) -> Option<Vec<OwnedUserId>>;

    /// The users whose presence changed after a position, at most `limit`, with the content of `m.presence` for each.
    fn presence(&self, since: Position, limit: usize) -> Vec<(UserNid, Value)>;
}

/// What happened in `rooms` after a position and concerns a service.
pub(crate) fn read(
    tx: &ReadTx<'_>,
    service: &Service,
    own: &OwnUsers,
    live: &dyn Live,
    rooms: &HashSet<RoomNid>,
    since: Position,
) -> Result<Vec<Value>> {
    let mut interest = Interest::new(tx, service, own);
    let mut events = Vec::new();
    for room in rooms.iter().take(MAX_ROOMS) {
        let typing = live.typing(*room, since);
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
    for (user, content) in live.presence(since, MAX_PRESENT) {
        if concerns(tx, &mut interest, own, user)? {
            let sender = tx.user_id(user)?;
            events.push(json!({ "type": "m.presence", "sender": sender, "content": content }));
        }
    }
    Ok(events)
}

/// Whether a user is the service's own, or in a room of its interest.
fn concerns(
    tx: &ReadTx<'_>,
    interest: &mut Interest<'_, '_>,
    own: &OwnUsers,
    user: UserNid,
) -> Result<bool> {
    if own.contains(user) {
        return Ok(true);
    }
    let rooms = tx.rooms_of_user(user, &MembershipState::Join)?;
    for room in rooms.into_iter().take(MAX_ROOMS) {
        if interest.has_room(room)? {
            return Ok(true);
        }
    }
    Ok(false)
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
