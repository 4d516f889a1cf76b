//! Rooms in which users hear from the server, and rooms that are closed to all of them.

use ruma::{OwnedUserId, RoomId, UserId};
use rusqlite::params;

use crate::{Error, ReadTx, Result, RoomNid, UserNid, WriteTx};

impl ReadTx<'_> {
    /// The room in which a user hears from the server, once there is one.
    pub fn notice_room(&self, user: UserNid) -> Result<Option<RoomNid>> {
        let sql = "SELECT room_nid FROM notice_rooms WHERE user_nid = ?1";
        self.optional(sql, [user], |row| row.get(0))
    }

    /// Who blocked a room, if it is blocked.
    pub fn room_blocked_by(&self, room_id: &RoomId) -> Result<Option<OwnedUserId>> {
        let sql = "SELECT u.user_id FROM blocked_rooms b JOIN users u ON u.user_nid = b.user_nid \
                   WHERE b.room_id = ?1";
        let id: Option<String> = self.optional(sql, [room_id.as_str()], |row| row.get(0))?;
        let id = id.map(|id| UserId::parse(id).map_err(|error| Error::invalid("user id", error)));
        id.transpose()
    }
}

impl WriteTx<'_> {
    /// Remembers where a user hears from the server.
    pub fn set_notice_room(&mut self, user: UserNid, room: RoomNid) -> Result<()> {
        let sql = "INSERT INTO notice_rooms (user_nid, room_nid) VALUES (?1, ?2) \
                   ON CONFLICT (user_nid) DO UPDATE SET room_nid = excluded.room_nid";
        self.execute(sql, params![user, room]).map(drop)
    }

    /// Closes a room to all users of this server. Those who are in it stay.
    pub fn block_room(&mut self, room_id: &RoomId, by: UserNid) -> Result<()> {
        let sql = "INSERT INTO blocked_rooms (room_id, user_nid, blocked_ts) VALUES (?1, ?2, ?3) \
                   ON CONFLICT DO NOTHING";
        self.execute(sql, params![room_id.as_str(), by, self.now_ms()])
            .map(drop)
    }

    /// Opens a room again.
    pub fn unblock_room(&mut self, room_id: &RoomId) -> Result<()> {
        let sql = "DELETE FROM blocked_rooms WHERE room_id = ?1";
        self.execute(sql, [room_id.as_str()]).map(drop)
    }
}
