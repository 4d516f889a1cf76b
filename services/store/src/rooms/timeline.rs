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

    /// The newest place in a room's timeline, if it has any.
    pub fn newest_pos(&self, room: RoomNid) -> Result<Option<i64>> {
        let sql = "SELECT pos FROM events WHERE room_nid = ?1 AND pos IS NOT NULL ORDER BY pos DESC LIMIT 1";
        self.optional(sql, [room], |row| row.get(0))
    }

    /// The oldest place in a room's timeline, if it has any.
    pub fn oldest_pos(&self, room: RoomNid) -> Result<Option<i64>> {
        let sql =
            "SELECT pos FROM events WHERE room_nid = ?1 AND pos IS NOT NULL ORDER BY pos LIMIT 1";
        self.optional(sql, [room], |row| row.get(0))
    }
}
