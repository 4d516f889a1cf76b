//! Room aliases of this server, and which rooms its directory lists.

use ruma::{OwnedRoomAliasId, RoomAliasId};
use rusqlite::params;

use super::parsed;
use crate::{ReadTx, Result, RoomNid, UserNid, WriteTx};

impl ReadTx<'_> {
    /// The room behind an alias of this server, and who set it.
    pub fn alias(&self, alias: &RoomAliasId) -> Result<Option<(RoomNid, UserNid)>> {
        let sql = "SELECT room_nid, creator_nid FROM aliases WHERE alias = ?1";
        self.optional(sql, [alias.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// The aliases that this server has for a room.
    pub fn aliases_of_room(&self, room: RoomNid) -> Result<Vec<OwnedRoomAliasId>> {
        let sql = "SELECT alias FROM aliases WHERE room_nid = ?1 ORDER BY alias";
        self.all(sql, [room], |row| parsed(row, "alias"))
    }

    /// Whether the directory lists a room.
    pub fn is_published(&self, room: RoomNid) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM published_rooms WHERE room_nid = ?1)";
        self.one(sql, [room], |row| row.get(0))
    }

    /// The rooms that the directory lists, those with most joined users first.
    pub fn published_rooms(&self) -> Result<Vec<(RoomNid, u64)>> {
        let sql = "SELECT p.room_nid, (SELECT coalesce(sum(s.joined), 0) FROM room_servers s \
                   WHERE s.room_nid = p.room_nid AND s.until_seq IS NULL) AS joined \
                   FROM published_rooms p ORDER BY joined DESC, p.room_nid";
        self.all(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
    }
}

impl WriteTx<'_> {
    /// Sets an alias; `false` if it is taken.
    pub fn insert_alias(
        &mut self,
        alias: &RoomAliasId,
        room: RoomNid,
        creator: UserNid,
    ) -> Result<bool> {
        let sql = "INSERT INTO aliases (alias, room_nid, creator_nid) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        Ok(self.execute(sql, params![alias.as_str(), room, creator])? > 0)
    }

    /// Takes an alias away; `false` if there was none.
    pub fn delete_alias(&mut self, alias: &RoomAliasId) -> Result<bool> {
        Ok(self.execute("DELETE FROM aliases WHERE alias = ?1", [alias.as_str()])? > 0)
    }

    /// Moves all aliases of a room, and its place in the directory, to the room that replaces it.
    pub fn move_aliases(&mut self, from: RoomNid, to: RoomNid) -> Result<()> {
        let sql = "UPDATE aliases SET room_nid = ?2 WHERE room_nid = ?1";
        self.execute(sql, params![from, to])?;
        Ok(())
    }

    /// Lists a room in the directory, or no longer.
    pub fn set_published(&mut self, room: RoomNid, published: bool) -> Result<()> {
        let sql = if published {
            "INSERT INTO published_rooms (room_nid) VALUES (?1) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM published_rooms WHERE room_nid = ?1"
        };
        self.execute(sql, [room])?;
        Ok(())
    }
}
