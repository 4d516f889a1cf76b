//! Read receipts of local and remote users.

use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedUserId, RoomId, UInt,
    events::receipt::{ReceiptThread, ReceiptType},
};
use rusqlite::{Row, params};

use crate::{Error, Position, ReadTx, Result, RoomNid, ServerNid, Topic, UserNid, WriteTx};

/// A user's receipt, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Whose.
    pub user_id: OwnedUserId,
    /// `m.read` or `m.read.private`.
    pub receipt_type: ReceiptType,
    /// The thread it counts for.
    pub thread: ReceiptThread,
    /// The event read.
    pub event_id: OwnedEventId,
    /// When.
    pub ts: MilliSecondsSinceUnixEpoch,
    /// The global position of the receipt.
    pub seq: Position,
}

/// A public receipt of a local user, on its way to another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingReceipt {
    /// The room.
    pub room_id: ruma::OwnedRoomId,
    /// The receipt.
    pub receipt: Receipt,
}

const COLUMNS: &str = "u.user_id, r.receipt_type, r.thread_id, r.event_id, r.ts, r.seq";

impl ReadTx<'_> {
    /// The receipts of a room after a position, newest first, at most `limit`.
    pub fn room_receipts(
        &self,
        room: RoomNid,
        after: Position,
        limit: u32,
    ) -> Result<Vec<Receipt>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM receipts r JOIN users u ON u.user_nid = r.user_nid
             WHERE r.room_nid = ?1 AND r.seq > ?2 ORDER BY r.seq DESC LIMIT ?3"
        );
        self.all(&sql, params![room, after, limit], raw)?
            .into_iter()
            .map(parse)
            .collect()
    }

    /// Public receipts of local users after a position, oldest first, in the rooms that `server` is in.
    pub fn outgoing_receipts(
        &self,
        server: ServerNid,
        after: Position,
        limit: u32,
    ) -> Result<Vec<OutgoingReceipt>> {
        let sql = format!(
            "SELECT {COLUMNS}, rooms.room_id
             FROM receipts r
             JOIN users u ON u.user_nid = r.user_nid
             JOIN rooms ON rooms.room_nid = r.room_nid
             WHERE r.is_local = 1 AND r.receipt_type = 'm.read' AND r.seq > ?2
               AND EXISTS (
                 SELECT 1 FROM room_servers s
                 WHERE s.room_nid = r.room_nid AND s.server_nid = ?1 AND s.until_seq IS NULL)
             ORDER BY r.seq LIMIT ?3"
        );
        let rows = self.all(&sql, params![server, after, limit], |row| {
            Ok((raw(row)?, row.get::<_, String>(6)?))
        })?;
        rows.into_iter()
            .map(|(receipt, room_id)| {
                Ok(OutgoingReceipt {
                    room_id: RoomId::parse(room_id)
                        .map_err(|error| Error::invalid("room id", error))?,
                    receipt: parse(receipt)?,
                })
            })
            .collect()
    }
}

impl WriteTx<'_> {
    /// Notes that a user has read up to an event, and says whether that is news. A receipt for an event older than the
    /// one already read changes nothing. Wakes the room; a local user's public receipt also wakes the room's servers.
    pub fn set_receipt(
        &mut self,
        room: RoomNid,
        user: UserNid,
        receipt_type: &ReceiptType,
        thread: &ReceiptThread,
        event_id: &EventId,
        ts: MilliSecondsSinceUnixEpoch,
    ) -> Result<bool> {
        let thread_id = thread.as_str().unwrap_or_default();
        let sql = "SELECT event_id FROM receipts
                   WHERE room_nid = ?1 AND user_nid = ?2 AND receipt_type = ?3 AND thread_id = ?4";
        let key = params![room, user, receipt_type.as_str(), thread_id];
        let held: Option<String> = self.optional(sql, key, |row| row.get(0))?;
        if let Some(held) = held
            && !self.is_later(room, event_id.as_str(), &held)?
        {
            return Ok(false);
        }
        let is_local = self.is_local_user(user)?;
        let seq = self.next_position();
        self.execute(
            "INSERT INTO receipts
               (room_nid, user_nid, receipt_type, thread_id, event_id, ts, seq, is_local)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (room_nid, user_nid, receipt_type, thread_id)
             DO UPDATE SET event_id = excluded.event_id, ts = excluded.ts, seq = excluded.seq",
            params![
                room,
                user,
                receipt_type.as_str(),
                thread_id,
                event_id.as_str(),
                i64::from(ts.get()),
                seq,
                is_local,
            ],
        )?;
        self.announce(Topic::Room(room));
        if is_local && *receipt_type == ReceiptType::Read {
            self.announce_destinations(room, seq)?;
        }
        Ok(true)
    }

    /// Whether a receipt may move from one event to another: not backwards where both are known.
    fn is_later(&self, room: RoomNid, new: &str, held: &str) -> Result<bool> {
        if new == held {
            return Ok(false);
        }
        let sql = "SELECT pos FROM events WHERE room_nid = ?1 AND event_id = ?2";
        let pos = |event_id: &str| -> Result<Option<i64>> {
            let pos = self.optional(sql, params![room, event_id], |row| row.get(0))?;
            Ok(pos.flatten())
        };
        Ok(match (pos(new)?, pos(held)?) {
            (Some(new), Some(held)) => new > held,
            _ => true,
        })
    }
}

impl ReadTx<'_> {
    /// Whether a user is of this server.
    pub fn is_local_user(&self, user: UserNid) -> Result<bool> {
        let sql = "SELECT server_nid FROM users WHERE user_nid = ?1";
        let server: Option<ServerNid> = self.optional(sql, [user], |row| row.get(0))?;
        Ok(server == Some(ServerNid::OWN))
    }
}

type RawReceipt = (String, String, String, String, i64, Position);

fn raw(row: &Row<'_>) -> rusqlite::Result<RawReceipt> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
    ))
}

fn parse((user_id, receipt_type, thread_id, event_id, ts, seq): RawReceipt) -> Result<Receipt> {
    let thread = if thread_id.is_empty() {
        ReceiptThread::Unthreaded
    } else {
        ReceiptThread::try_from(Some(thread_id))
            .map_err(|error| Error::invalid("receipt thread", error))?
    };
    let ts = UInt::try_from(ts).map_err(|error| Error::invalid("receipt time", error))?;
    Ok(Receipt {
        user_id: user_id
            .try_into()
            .map_err(|error| Error::invalid("user id", error))?,
        receipt_type: receipt_type.into(),
        thread,
        event_id: event_id
            .try_into()
            .map_err(|error| Error::invalid("event id", error))?,
        ts: MilliSecondsSinceUnixEpoch(ts),
        seq,
    })
}
