//! The events of a room as clients see them, in order.

use rusqlite::params;

use super::events::{read_event, select_event};
use crate::{Event, ReadTx, Result, RoomNid};

impl ReadTx<'_> {
    /// At most `limit` timeline events with `from < pos <= to`, oldest first.
    pub fn timeline_forwards(
        &self,
        room: RoomNid,
        from: i64,
        to: i64,
        limit: usize,
    ) -> Result<Vec<Event>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = select_event!(
            "WHERE e.room_nid = ?1 AND e.pos > ?2 AND e.pos <= ?3 ORDER BY e.pos LIMIT ?4"
        );
        self.all(sql, params![room, from, to, limit], read_event)
    }

    /// The newest free place before one in a room's timeline, with nothing but backfilled events between the two. `None`
    /// where a live event comes before it.
    pub fn free_place_before(&self, room: RoomNid, pos: i64) -> Result<Option<i64>> {
        let sql = "SELECT pos, seq FROM events WHERE room_nid = ?1 AND pos < ?2 ORDER BY pos DESC LIMIT 100";
        let mut place = pos;
        loop {
            let older: Vec<(i64, i64)> = self.all(sql, params![room, place], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            let count = older.len();
            for (pos, seq) in older {
                if pos < place - 1 {
                    return Ok(Some(place - 1));
                }
                if pos == seq {
                    return Ok(None);
                }
                place = pos;
            }
            if count < 100 {
                return Ok(Some(place - 1));
            }
        }
    }

    /// How many events of a room counted as unread up to the place before one.
    pub(super) fn notify_count_before(&self, room: RoomNid, pos: i64) -> Result<i64> {
        let sql = "SELECT notify_ord FROM events WHERE room_nid = ?1 AND pos < ?2 ORDER BY pos DESC LIMIT 1";
        let count = self.optional(sql, params![room, pos], |row| row.get(0))?;
        Ok(count.unwrap_or(0))
    }

    /// The newest place in a room's timeline, if it has any.
    pub fn newest_pos(&self, room: RoomNid) -> Result<Option<i64>> {
        let sql = "SELECT pos FROM events WHERE room_nid = ?1 AND pos IS NOT NULL ORDER BY pos DESC LIMIT 1";
        self.optional(sql, [room], |row| row.get(0))
    }

    /// The depth that the first event of a room has which came here live: the create event, or a join.
    pub fn first_live_depth(&self, room: RoomNid) -> Result<Option<i64>> {
        let sql = "SELECT depth FROM events WHERE room_nid = ?1 AND pos > 0 ORDER BY pos LIMIT 1";
        self.optional(sql, [room], |row| row.get(0))
    }

    /// The oldest place in a room's timeline, if it has any.
    pub fn oldest_pos(&self, room: RoomNid) -> Result<Option<i64>> {
        let sql =
            "SELECT pos FROM events WHERE room_nid = ?1 AND pos IS NOT NULL ORDER BY pos LIMIT 1";
        self.optional(sql, [room], |row| row.get(0))
    }
}
