//! Rooms that two users share.

use ruma::OwnedRoomId;
use rusqlite::params;

use super::parsed;
use crate::{ReadTx, Result, RoomNid, UserNid};

impl ReadTx<'_> {
    /// The rooms behind `after` that two users are joined to, at most `limit`, in the order of their integer ids.
    pub fn mutual_rooms(
        &self,
        one: UserNid,
        other: UserNid,
        after: RoomNid,
        limit: u32,
    ) -> Result<Vec<(RoomNid, OwnedRoomId)>> {
        let sql = "SELECT r.room_nid, r.room_id FROM members a \
                   JOIN members b ON b.room_nid = a.room_nid AND b.user_nid = ?2 AND b.membership = 'join' \
                   JOIN rooms r ON r.room_nid = a.room_nid \
                   WHERE a.user_nid = ?1 AND a.membership = 'join' AND a.room_nid > ?3 \
                   ORDER BY a.room_nid LIMIT ?4";
        self.all(sql, params![one, other, after, limit], |row| {
            Ok((row.get("room_nid")?, parsed(row, "room_id")?))
        })
    }

    /// How many rooms two users are joined to.
    pub fn count_mutual_rooms(&self, one: UserNid, other: UserNid) -> Result<u32> {
        let sql = "SELECT count(*) FROM members a \
                   JOIN members b ON b.room_nid = a.room_nid AND b.user_nid = ?2 AND b.membership = 'join' \
                   WHERE a.user_nid = ?1 AND a.membership = 'join'";
        self.one(sql, params![one, other], |row| row.get(0))
    }
}
