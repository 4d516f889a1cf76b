//! What an invited or knocking local user may see of a room that this server is not in.

use rusqlite::params;

use crate::{ReadTx, Result, RoomNid, UserNid, WriteTx};

impl ReadTx<'_> {
    /// The stripped state that came with an invite or a knock: a JSON array.
    pub fn stripped_state(&self, room: RoomNid, user: UserNid) -> Result<Option<String>> {
        let sql = "SELECT events FROM stripped_state WHERE room_nid = ?1 AND user_nid = ?2";
        self.optional(sql, params![room, user], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Keeps the stripped state of an invite or a knock, in place of an earlier one.
    pub fn set_stripped_state(&mut self, room: RoomNid, user: UserNid, events: &str) -> Result<()> {
        let sql = "INSERT INTO stripped_state (room_nid, user_nid, events) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (room_nid, user_nid) DO UPDATE SET events = excluded.events";
        self.execute(sql, params![room, user, events])?;
        Ok(())
    }

    /// Drops it, once the user is in the room or no longer wants to be.
    pub fn delete_stripped_state(&mut self, room: RoomNid, user: UserNid) -> Result<()> {
        let sql = "DELETE FROM stripped_state WHERE room_nid = ?1 AND user_nid = ?2";
        self.execute(sql, params![room, user])?;
        Ok(())
    }
}
