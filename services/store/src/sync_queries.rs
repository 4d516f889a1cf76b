//! What clients read of rooms.

use ruma::{EventId, RoomId, UserId, events::room::member::MembershipState};
use rusqlite::params;

use crate::{ReadTx, Result, RoomNid};

impl ReadTx<'_> {
    /// A room, and a user's membership in it; `None` where the user never had one.
    pub fn room_with_membership(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Option<(RoomNid, MembershipState)>> {
        let sql = "SELECT m.room_nid, m.membership FROM rooms r
                   JOIN members m ON m.room_nid = r.room_nid
                   JOIN users u ON u.user_nid = m.user_nid
                   WHERE r.room_id = ?1 AND u.user_id = ?2";
        let found = self.optional(sql, params![room_id.as_str(), user_id.as_str()], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?))
        })?;
        Ok(found.map(|(room, membership)| (room, membership.into())))
    }

    /// An event's place in its room's timeline, if it has one.
    pub fn timeline_pos(&self, room: RoomNid, event_id: &EventId) -> Result<Option<i64>> {
        let sql = "SELECT pos FROM events WHERE room_nid = ?1 AND event_id = ?2";
        let pos = self.optional(sql, params![room, event_id.as_str()], |row| row.get(0))?;
        Ok(pos.flatten())
    }
}
