//! What users have read.

use luxchat_store::{ReadTx, RoomNid, Store, WriteTx};
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId,
    ServerName, UserId,
    api::federation::transactions::edu::ReceiptContent,
    events::{
        receipt::{ReceiptThread, ReceiptType},
        room::member::MembershipState,
    },
};

use serde::Serialize;

use crate::{Error, Result, client_event::value};

/// Receipts taken from one EDU; more are ignored.
const RECEIPTS_PER_EDU: usize = 1_000;

/// Who may know of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// `m.read`: everyone in the room.
    Public,
    /// `m.read.private`: nobody but the user.
    Private,
}

impl From<ReceiptKind> for ReceiptType {
    fn from(kind: ReceiptKind) -> Self {
        match kind {
            ReceiptKind::Public => Self::Read,
            ReceiptKind::Private => Self::ReadPrivate,
        }
    }
}

/// Writes receipts and the read positions that follow from them.
#[derive(Clone, Debug)]
pub struct Receipts {
    store: Store,
}

impl Receipts {
    /// Receipts of this server's rooms.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// A local user has read a room (or a thread of it) up to an event.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user is not joined to the room, [`Error::NotFound`] where it has no such event,
    /// [`Error::Invalid`] where it has no such thread.
    pub async fn set(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        event_id: &EventId,
        kind: ReceiptKind,
        thread: ReceiptThread,
    ) -> Result<()> {
        let mark = Mark {
            user_id: user_id.to_owned(),
            room_id: room_id.to_owned(),
            event_id: event_id.to_owned(),
            kind,
            thread,
        };
        self.store.write(move |tx| mark.write(tx)).await
    }

    /// A local user has read a room up to an event for good: where they go on, on any device.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#fully-read-markers).
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] where the user is not joined to the room.
    pub async fn set_fully_read(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<()> {
        let content = value(&FullyRead { event_id })?;
        let (user_id, room_id) = (user_id.to_owned(), room_id.to_owned());
        self.store
            .write(move |tx| {
                let room = joined_room(tx, &user_id, &room_id)?;
                let room = room.ok_or(Error::Forbidden("you are not in the room"))?;
                let user = tx.user_nid_or_insert(&user_id)?;
                tx.set_room_account_data(user, room, "m.fully_read", &content)?;
                Ok(())
            })
            .await
    }

    /// A peer says what its users have read. What is not its business is ignored.
    /// [Spec](https://spec.matrix.org/v1.19/server-server-api/#receipts).
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn receive(&self, origin: &ServerName, content: ReceiptContent) -> Result<()> {
        let origin = origin.to_owned();
        self.store
            .write(move |tx| receive(tx, &origin, content))
            .await
    }
}

#[derive(Serialize)]
struct FullyRead<'a> {
    event_id: &'a EventId,
}

struct Mark {
    user_id: OwnedUserId,
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
    kind: ReceiptKind,
    thread: ReceiptThread,
}

impl Mark {
    fn write(self, tx: &mut WriteTx<'_>) -> Result<()> {
        let room = joined_room(tx, &self.user_id, &self.room_id)?
            .ok_or(Error::Forbidden("you are not in the room"))?;
        let pos = tx.timeline_pos(room, &self.event_id)?;
        let pos = pos.ok_or(Error::NotFound("event"))?;
        if !is_thread(tx, room, &self.thread)? {
            return Err(Error::Invalid("there is no such thread"));
        }
        let user = tx.user_nid_or_insert(&self.user_id)?;
        let now = MilliSecondsSinceUnixEpoch(ruma::UInt::new_saturating(tx.now_ms()));
        tx.set_receipt(
            room,
            user,
            &self.kind.into(),
            &self.thread,
            &self.event_id,
            now,
        )?;
        tx.set_read_position(user, room, &self.thread, pos)?;
        Ok(())
    }
}

fn receive(tx: &mut WriteTx<'_>, origin: &ServerName, content: ReceiptContent) -> Result<()> {
    let receipts = content.receipts.into_iter().flat_map(|(room_id, map)| {
        let users = map.read.into_iter();
        users.map(move |(user_id, data)| (room_id.clone(), user_id, data))
    });
    for (room_id, user_id, data) in receipts.take(RECEIPTS_PER_EDU) {
        if user_id.server_name() != origin {
            continue;
        }
        let room = match joined_room(tx, &user_id, &room_id)? {
            Some(room) => Some(room),
            None => tx.room_lacking_users_of(&room_id, origin)?,
        };
        let Some(room) = room else {
            continue;
        };
        // Only the newest counts, and peers send it last.
        let Some(event_id) = data.event_ids.last() else {
            continue;
        };
        if !is_thread(tx, room, &data.data.thread)? {
            continue;
        }
        let user = tx.user_nid_or_insert(&user_id)?;
        let now = MilliSecondsSinceUnixEpoch(ruma::UInt::new_saturating(tx.now_ms()));
        let ts = data.data.ts.unwrap_or(now);
        tx.set_receipt(
            room,
            user,
            &ReceiptType::Read,
            &data.data.thread,
            event_id,
            ts,
        )?;
    }
    Ok(())
}

/// Whether there can be a receipt for a thread. Each gets a row of its own, so their names cannot be anything.
fn is_thread(tx: &ReadTx<'_>, room: RoomNid, thread: &ReceiptThread) -> Result<bool> {
    Ok(match thread {
        ReceiptThread::Unthreaded | ReceiptThread::Main => true,
        ReceiptThread::Thread(root) => tx.timeline_pos(room, root)?.is_some(),
        _ => false,
    })
}

fn joined_room(tx: &ReadTx<'_>, user_id: &UserId, room_id: &RoomId) -> Result<Option<RoomNid>> {
    Ok(match tx.room_with_membership(room_id, user_id)? {
        Some((room, MembershipState::Join)) => Some(room),
        _ => None,
    })
}
