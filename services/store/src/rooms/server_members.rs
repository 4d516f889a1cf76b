//! The users of one server in one room.

use ruma::OwnedUserId;
use rusqlite::params;

use super::parsed;
use crate::{ReadTx, Result, RoomNid, ServerNid};

impl ReadTx<'_> {
    /// At most `limit` users of a server who have, or once had, a membership of a room.
    pub fn users_of_server_in_room(
        &self,
        room: RoomNid,
        server: ServerNid,
        limit: usize,
    ) -> Result<Vec<OwnedUserId>> {
        let sql = "SELECT u.user_id FROM members m JOIN users u ON u.user_nid = m.user_nid \
                   WHERE m.room_nid = ?1 AND u.server_nid = ?2 LIMIT ?3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.all(sql, params![room, server, limit], |row| {
            parsed(row, "user_id")
        })
    }
}
