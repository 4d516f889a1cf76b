//! Status messages of local users, and whom a user's presence concerns.

use ruma::{OwnedServerName, events::room::member::MembershipState};
use rusqlite::params;

use crate::{Error, ReadTx, Result, RoomNid, ServerNid, UserNid, WriteTx};

/// Whom a user's presence concerns.
#[derive(Clone, Debug, Default)]
pub struct PresenceAudience {
    /// The rooms that the user is joined to, leaving out those with very many members.
    pub rooms: Vec<RoomNid>,
    /// The other servers that share a room with the user.
    pub servers: Vec<OwnedServerName>,
}

impl ReadTx<'_> {
    /// What a local user last said of themselves.
    pub fn status_message(&self, user: UserNid) -> Result<Option<String>> {
        let sql = "SELECT status_msg FROM presence_status WHERE user_nid = ?1";
        self.optional(sql, [user], |row| row.get(0))
    }

    /// Whom a user's presence concerns; rooms with more than `members` members are left out.
    pub fn presence_audience(&self, user: UserNid, members: u32) -> Result<PresenceAudience> {
        let mut audience = PresenceAudience::default();
        for room in self.rooms_of_user(user, &MembershipState::Join)? {
            if !self.has_more_members(room, members)? {
                audience.rooms.push(room);
            }
        }
        let sql = "SELECT DISTINCT s.server_name FROM members m
                   JOIN room_servers r ON r.room_nid = m.room_nid
                   JOIN servers s ON s.server_nid = r.server_nid
                   WHERE m.user_nid = ?1 AND m.membership = 'join' AND r.until_seq IS NULL
                     AND r.server_nid <> ?2";
        let names: Vec<String> = self.all(sql, params![user, ServerNid::OWN], |row| row.get(0))?;
        for name in names {
            let name = name.try_into();
            audience
                .servers
                .push(name.map_err(|error| Error::invalid("server name", error))?);
        }
        Ok(audience)
    }

    /// Whether more than `members` users are joined to a room. Looks at no more of them than that.
    pub fn has_more_members(&self, room: RoomNid, members: u32) -> Result<bool> {
        let sql =
            "SELECT 1 FROM members WHERE room_nid = ?1 AND membership = 'join' LIMIT 1 OFFSET ?2";
        let more = self.optional(sql, params![room, members], |_| Ok(()))?;
        Ok(more.is_some())
    }

    /// Joined members of a room, at most `limit`.
    pub fn joined_users(&self, room: RoomNid, limit: u32) -> Result<Vec<UserNid>> {
        let sql =
            "SELECT user_nid FROM members WHERE room_nid = ?1 AND membership = 'join' LIMIT ?2";
        self.all(sql, params![room, limit], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Keeps what a local user says of themselves, or forgets it.
    pub fn set_status_message(&mut self, user: UserNid, message: Option<&str>) -> Result<()> {
        match message {
            Some(message) => self.execute(
                "INSERT INTO presence_status (user_nid, status_msg) VALUES (?1, ?2)
                 ON CONFLICT (user_nid) DO UPDATE SET status_msg = excluded.status_msg",
                params![user, message],
            )?,
            None => self.execute("DELETE FROM presence_status WHERE user_nid = ?1", [user])?,
        };
        Ok(())
    }
}
