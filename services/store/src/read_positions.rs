//! Up to where local users have read their rooms, and how much is left.

use rusqlite::params;

use crate::{Position, ReadTx, Result, RoomNid, Topic, UserNid, WriteTx};

/// What a user has not read of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Events worth a notification.
    pub notifications: u64,
    /// Those of them that mention the user.
    pub highlights: u64,
}

/// At most this many highlights are counted: a client shows "99+" long before.
const HIGHLIGHTS_COUNTED: u32 = 1_000;

impl ReadTx<'_> {
    /// What a user has not read of a room.
    pub fn unread(&self, user: UserNid, room: RoomNid) -> Result<Unread> {
        let sql = "SELECT p.pos, r.notify_count - p.notify_ord
                   FROM read_positions p JOIN rooms r ON r.room_nid = p.room_nid
                   WHERE p.user_nid = ?1 AND p.room_nid = ?2";
        let read: Option<(i64, i64)> = self.optional(sql, params![user, room], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let Some((pos, notifications)) = read else {
            return Ok(Unread::default());
        };
        Ok(Unread {
            notifications: u64::try_from(notifications).unwrap_or(0),
            highlights: self.highlights_after(user, room, pos)?,
        })
    }

    fn highlights_after(&self, user: UserNid, room: RoomNid, pos: i64) -> Result<u64> {
        let sql = "SELECT count(*) FROM (
                     SELECT pos FROM highlights WHERE user_nid = ?1 AND room_nid = ?2 AND pos > ?3
                     UNION
                     SELECT pos FROM room_highlights WHERE room_nid = ?2 AND pos > ?3
                     LIMIT ?4)";
        self.one(sql, params![user, room, pos, HIGHLIGHTS_COUNTED], |row| {
            row.get(0)
        })
    }
}

impl WriteTx<'_> {
    /// Notes that a local user has read a room up to the event at `pos`, and says whether that is news. Wakes the user.
    pub fn set_read_position(&mut self, user: UserNid, room: RoomNid, pos: i64) -> Result<bool> {
        let sql = "SELECT notify_ord FROM events WHERE room_nid = ?1 AND pos = ?2";
        let Some(notify_ord) = self.optional(sql, params![room, pos], |row| row.get(0))? else {
            return Ok(false);
        };
        let seq = self.next_position();
        let moved = self.advance_read_position(user, room, pos, notify_ord, seq)?;
        if moved {
            self.execute(
                "DELETE FROM highlights WHERE user_nid = ?1 AND room_nid = ?2 AND pos <= ?3",
                params![user, room, pos],
            )?;
            self.announce(Topic::User(user));
        }
        Ok(moved)
    }

    /// Moves a read position forward; never back.
    pub(crate) fn advance_read_position(
        &mut self,
        user: UserNid,
        room: RoomNid,
        pos: i64,
        notify_ord: i64,
        seq: Position,
    ) -> Result<bool> {
        let changed = self.execute(
            "INSERT INTO read_positions (user_nid, room_nid, pos, notify_ord, seq)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (user_nid, room_nid)
             DO UPDATE SET pos = excluded.pos, notify_ord = excluded.notify_ord, seq = excluded.seq
             WHERE excluded.pos > read_positions.pos",
            params![user, room, pos, notify_ord, seq],
        )?;
        Ok(changed > 0)
    }

    /// Starts counting at a user's join.
    pub(crate) fn start_read_position(
        &mut self,
        user: UserNid,
        room: RoomNid,
        pos: i64,
        notify_ord: i64,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO read_positions (user_nid, room_nid, pos, notify_ord, seq)
             VALUES (?1, ?2, ?3, ?4, ?3) ON CONFLICT DO NOTHING",
            params![user, room, pos, notify_ord],
        )?;
        Ok(())
    }

    /// Stops counting: the user is no longer in the room.
    pub(crate) fn forget_read_position(&mut self, user: UserNid, room: RoomNid) -> Result<()> {
        self.execute(
            "DELETE FROM read_positions WHERE user_nid = ?1 AND room_nid = ?2",
            params![user, room],
        )?;
        self.execute(
            "DELETE FROM highlights WHERE user_nid = ?1 AND room_nid = ?2",
            params![user, room],
        )?;
        Ok(())
    }
}
