//! Accounts of guests: people who did not register.

use ruma::{OwnedUserId, UserId};
use rusqlite::params;

use crate::{Error, Position, ReadTx, Result, RoomNid, UserNid, WriteTx};

impl ReadTx<'_> {
    /// Whether an account is a guest's.
    pub fn is_guest(&self, user: UserNid) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM guests WHERE user_nid = ?1)";
        self.one(sql, [user], |row| row.get(0))
    }

    /// The guests who are joined to a room.
    pub fn guests_of_room(&self, room: RoomNid) -> Result<Vec<OwnedUserId>> {
        let sql = "SELECT u.user_id FROM guests g JOIN members m ON m.user_nid = g.user_nid \
                   JOIN users u ON u.user_nid = g.user_nid WHERE m.room_nid = ?1 AND m.membership = 'join'";
        let ids: Vec<String> = self.all(sql, [room], |row| row.get(0))?;
        ids.into_iter()
            .map(|id| UserId::parse(id).map_err(|error| Error::invalid("user id", error)))
            .collect()
    }

    /// The rooms that guests are joined to.
    pub fn rooms_with_guests(&self) -> Result<Vec<RoomNid>> {
        let sql = "SELECT DISTINCT m.room_nid FROM guests g JOIN members m ON m.user_nid = g.user_nid \
                   WHERE m.membership = 'join'";
        self.all(sql, [], |row| row.get(0))
    }

    /// The rooms in which who may come as a guest was said anew after a position.
    pub fn guest_access_changes(&self, after: Position) -> Result<Vec<RoomNid>> {
        // Ids of events are the positions at which they were stored.
        let sql = "SELECT DISTINCT room_nid FROM events WHERE event_nid > ?1 AND event_type = 'm.room.guest_access'";
        self.all(sql, [after], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Makes an account a guest's.
    pub fn insert_guest(&mut self, user: UserNid) -> Result<()> {
        let sql = "INSERT INTO guests (user_nid) VALUES (?1) ON CONFLICT DO NOTHING";
        self.execute(sql, [user]).map(drop)
    }

    /// Makes a guest's account one like any other; `false` where it was none.
    pub fn delete_guest(&mut self, user: UserNid) -> Result<bool> {
        let sql = "DELETE FROM guests WHERE user_nid = ?1";
        Ok(self.execute(sql, params![user])? == 1)
    }
}
