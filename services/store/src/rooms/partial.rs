//! Rooms whose state lacks members: this server joined them on a reduced answer, and fetches the rest in the background.

use std::collections::HashSet;

use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId};
use rusqlite::{Row, params};

use super::parsed;
use crate::{
    EventNid, Position, ReadTx, Result, RoomNid, ServerNid, StateKeyNid, Topic, UserNid, WriteTx,
};

/// A room whose state lacks members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialRoom {
    /// The room.
    pub room: RoomNid,
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// The join before which its state is to be fetched.
    pub join: EventNid,
    /// The server that let this one in.
    pub via: OwnedServerName,
    /// Attempts that failed so far.
    pub attempts: u32,
    /// When to try again, in milliseconds since the Unix epoch.
    pub retry_ts: u64,
    /// What went wrong last.
    pub error: Option<String>,
}

/// How many rooms lack members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartialRooms {
    /// All of them.
    pub rooms: u64,
    /// Those among them for which an attempt to complete them has failed.
    pub failing: u64,
}

/// A room that begins to lack members.
#[derive(Clone, Copy, Debug)]
pub struct NewPartialRoom<'a> {
    /// The room.
    pub room: RoomNid,
    /// The join, which has its place.
    pub join: EventNid,
    /// Its position.
    pub from: Position,
    /// The server that let this one in.
    pub via: &'a ServerName,
    /// The servers in the room, as that one says.
    pub servers: &'a [OwnedServerName],
}

macro_rules! select_partial_rooms {
    ($tail:literal) => {
        concat!(
            "SELECT p.room_nid, r.room_id, p.join_nid, p.via, p.attempts, p.retry_ts, p.error ",
            "FROM partial_rooms p JOIN rooms r ON r.room_nid = p.room_nid ",
            $tail
        )
    };
}

impl ReadTx<'_> {
    /// What is known of a room whose state lacks members; `None` where none are missing.
    pub fn partial_room(&self, room: RoomNid) -> Result<Option<PartialRoom>> {
        let sql = select_partial_rooms!("WHERE p.room_nid = ?1");
        self.optional(sql, [room], read_partial_room)
    }

    /// The rooms to complete, those first that are to be tried first: at most `limit`.
    pub fn next_partial_rooms(&self, limit: u32) -> Result<Vec<PartialRoom>> {
        let sql = select_partial_rooms!("ORDER BY p.retry_ts LIMIT ?1");
        self.all(sql, [limit], read_partial_room)
    }

    /// How many rooms lack members.
    pub fn partial_rooms(&self) -> Result<PartialRooms> {
        let sql = "SELECT count(*), coalesce(sum(attempts > 0), 0) FROM partial_rooms";
        self.one(sql, [], |row| {
            Ok(PartialRooms {
                rooms: row.get(0)?,
                failing: row.get(1)?,
            })
        })
    }

    /// Those of some entries that are memberships.
    pub fn membership_keys(
        &self,
        keys: impl IntoIterator<Item = StateKeyNid>,
    ) -> Result<HashSet<StateKeyNid>> {
        let sql = "SELECT event_type = 'm.room.member' FROM state_keys WHERE state_key_nid = ?1";
        let mut memberships = HashSet::new();
        for key in keys {
            if self.one(sql, [key], |row| row.get(0))? {
                memberships.insert(key);
            }
        }
        Ok(memberships)
    }

    /// Those of some entries that are memberships of this server's users.
    pub fn own_membership_keys(
        &self,
        keys: impl IntoIterator<Item = StateKeyNid>,
    ) -> Result<HashSet<StateKeyNid>> {
        let sql = "SELECT EXISTS (SELECT 1 FROM state_keys k JOIN users u ON u.user_id = k.state_key \
                   WHERE k.state_key_nid = ?1 AND k.event_type = 'm.room.member' AND u.server_nid = ?2)";
        let mut memberships = HashSet::new();
        for key in keys {
            if self.one(sql, params![key, ServerNid::OWN], |row| row.get(0))? {
                memberships.insert(key);
            }
        }
        Ok(memberships)
    }

    /// The room with a Matrix id, where members are missing from its state who may be users of a server.
    pub fn room_lacking_users_of(
        &self,
        room_id: &RoomId,
        server: &ServerName,
    ) -> Result<Option<RoomNid>> {
        let sql = "SELECT r.room_nid FROM rooms r JOIN room_servers t ON t.room_nid = r.room_nid \
                   JOIN servers s ON s.server_nid = t.server_nid \
                   WHERE r.room_id = ?1 AND r.partial_from IS NOT NULL AND s.server_name = ?2 \
                   AND t.until_seq IS NULL AND t.told = 1";
        let params = params![room_id.as_str(), server.as_str()];
        self.optional(sql, params, |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Notes that a room's state lacks members from a join on.
    pub fn begin_partial(&mut self, new: NewPartialRoom<'_>) -> Result<()> {
        let sql = "UPDATE rooms SET partial_from = ?2, complete_from = NULL WHERE room_nid = ?1";
        self.execute(sql, params![new.room, new.from])?;
        let sql = "INSERT INTO partial_rooms (room_nid, join_nid, via, retry_ts) VALUES (?1, ?2, ?3, 0) \
                   ON CONFLICT (room_nid) DO UPDATE SET join_nid = excluded.join_nid, via = excluded.via, \
                   attempts = 0, retry_ts = 0, error = NULL";
        let params = params![new.room, new.join, new.via.as_str()];
        self.execute(sql, params)?;
        for name in new.servers {
            let server = self.server_nid_or_insert(name)?;
            if server != ServerNid::OWN {
                self.tell_server(new.room, server, new.from)?;
            }
        }
        Ok(())
    }

    fn tell_server(&mut self, room: RoomNid, server: ServerNid, from: Position) -> Result<()> {
        let sql = "UPDATE room_servers SET told = 1 \
                   WHERE room_nid = ?1 AND server_nid = ?2 AND until_seq IS NULL";
        if self.execute(sql, params![room, server])? > 0 {
            return Ok(());
        }
        let sql = "INSERT INTO room_servers (room_nid, server_nid, from_seq, joined, told) VALUES (?1, ?2, ?3, 0, 1) \
                   ON CONFLICT (room_nid, server_nid, from_seq) DO UPDATE SET until_seq = NULL, joined = 0, told = 1";
        self.execute(sql, params![room, server, from])?;
        Ok(())
    }

    /// Puts the next attempt to complete a room off.
    pub fn put_off_partial(&mut self, room: RoomNid, retry_ts: u64, error: &str) -> Result<()> {
        let sql = "UPDATE partial_rooms SET attempts = attempts + 1, retry_ts = ?2, error = ?3 \
                   WHERE room_nid = ?1";
        self.execute(sql, params![room, retry_ts, error])?;
        Ok(())
    }

    /// Notes that nothing is missing any more, or that this server has left the room without what is. Servers that turn
    /// out to have no user in the room are in it no longer; clients and servers hear what was held back.
    pub fn end_partial(&mut self, room: RoomNid) -> Result<()> {
        let Some(from) = self.room(room)?.partial_from else {
            return Ok(());
        };
        let seq = self.next_position();
        self.execute("DELETE FROM partial_rooms WHERE room_nid = ?1", [room])?;
        let sql = "UPDATE rooms SET partial_from = NULL, complete_from = ?2 WHERE room_nid = ?1";
        self.execute(sql, params![room, seq])?;
        let sql = "UPDATE room_servers SET told = 0, until_seq = CASE WHEN joined > 0 THEN NULL ELSE ?2 END \
                   WHERE room_nid = ?1 AND until_seq IS NULL AND told = 1";
        self.execute(sql, params![room, seq])?;
        self.tell_missed_device_changes(room, from)?;
        self.announce(Topic::Room(room));
        Ok(())
    }

    /// Notes that the keys of a remote user changed who may be in a room without it being known: clients hear of it once it
    /// is.
    pub fn note_change_of_missing_member(&mut self, user_id: &UserId) -> Result<()> {
        let sql = "SELECT EXISTS (SELECT 1 FROM partial_rooms p JOIN room_servers r ON r.room_nid = p.room_nid \
                   JOIN servers s ON s.server_nid = r.server_nid \
                   WHERE r.told = 1 AND r.until_seq IS NULL AND s.server_name = ?1)";
        let may_be: bool = self.one(sql, [user_id.server_name().as_str()], |row| row.get(0))?;
        if !may_be {
            return Ok(());
        }
        let user = self.user_nid_or_insert(user_id)?;
        if !self.shares_room_with_us(user)? {
            let sql = "UPDATE remote_device_lists SET stale = 1 WHERE user_nid = ?1";
            self.execute(sql, [user])?;
            let seq = self.next_position();
            self.device_list_changed(user, seq)?;
        }
        Ok(())
    }

    /// What changed of users' devices while it was not known who is in the room with them: other servers may have missed
    /// what happened to users of this one, and clients what happened to users of others.
    fn tell_missed_device_changes(&mut self, room: RoomNid, from: Position) -> Result<()> {
        let sql = "SELECT m.user_nid, (SELECT d.device_id FROM device_changes d WHERE d.user_nid = m.user_nid \
                       AND d.seq > ?2 AND d.device_id IS NOT NULL ORDER BY d.seq DESC LIMIT 1) AS device_id \
                   FROM members m JOIN users u ON u.user_nid = m.user_nid \
                   WHERE m.room_nid = ?1 AND m.membership = 'join' AND u.server_nid = ?3";
        let changed = self.all(sql, params![room, from, ServerNid::OWN], |row| {
            Ok((row.get::<_, UserNid>(0)?, row.get::<_, Option<String>>(1)?))
        })?;
        for (user, device) in changed {
            if let Some(device) = device {
                self.device_changed(user, device.as_str().into())?;
            }
        }
        let sql = "SELECT d.user_nid FROM device_lists d JOIN users u ON u.user_nid = d.user_nid \
                   JOIN members m ON m.room_nid = ?1 AND m.user_nid = d.user_nid AND m.membership = 'join' \
                   WHERE d.seq > ?2 AND u.server_nid <> ?3";
        let changed: Vec<UserNid> =
            self.all(sql, params![room, from, ServerNid::OWN], |row| row.get(0))?;
        let seq = self.next_position();
        for user in changed {
            self.device_list_changed(user, seq)?;
        }
        Ok(())
    }
}

fn read_partial_room(row: &Row<'_>) -> rusqlite::Result<PartialRoom> {
    Ok(PartialRoom {
        room: row.get("room_nid")?,
        room_id: parsed(row, "room_id")?,
        join: row.get("join_nid")?,
        via: parsed(row, "via")?,
        attempts: row.get("attempts")?,
        retry_ts: row.get("retry_ts")?,
        error: row.get("error")?,
    })
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;
    use crate::rooms::test_room::with_room;

    #[test]
    fn a_server_that_is_said_to_be_in_a_room_stays_until_the_members_are_known() {
        with_room(|mut test| {
            let room = test.room.nid;
            test.set_member("$alice", "@alice:one", "join");
            let from = test.tx.next_position();
            let join = test.say("$join").nid;
            let servers = [
                server_name!("two").to_owned(),
                server_name!("three").to_owned(),
            ];
            let new = NewPartialRoom {
                room,
                join,
                from,
                via: server_name!("two"),
                servers: &servers,
            };
            test.tx.begin_partial(new).unwrap();
            assert!(test.tx.room(room).unwrap().is_partial());
            assert_eq!(test.tx.next_partial_rooms(9).unwrap()[0].retry_ts, 0);
            test.tx.put_off_partial(room, 50, "nobody answers").unwrap();
            let next = &test.tx.next_partial_rooms(9).unwrap()[0];
            assert_eq!((next.retry_ts, next.attempts), (50, 1));
            // One who comes and goes says nothing of the others.
            test.set_member("$bob", "@bob:two", "join");
            test.set_member("$bobleaves", "@bob:two", "leave");
            test.set_member("$carol", "@carol:three", "join");
            let names = |test: &crate::rooms::test_room::TestRoom<'_>| {
                let servers = test.tx.servers_in_room(room).unwrap().into_iter();
                let mut names: Vec<_> = servers.map(|(_, name)| name.to_string()).collect();
                names.sort();
                names
            };
            assert_eq!(names(&test), ["one", "three", "two"]);
            let room_id = test.room.room_id.clone();
            let lacking = |test: &crate::rooms::test_room::TestRoom<'_>| {
                let two = server_name!("two");
                test.tx.room_lacking_users_of(&room_id, two).unwrap()
            };
            assert_eq!(lacking(&test), Some(room));
            let joined = ruma::events::room::member::MembershipState::Join;
            assert_eq!(test.tx.member_count(room, &joined).unwrap(), 2);
            test.tx.end_partial(room).unwrap();
            assert_eq!(names(&test), ["one", "three"]);
            assert_eq!(lacking(&test), None);
            let room = test.tx.room(room).unwrap();
            assert!(!room.is_partial() && room.complete_from > Some(from));
            assert_eq!(test.tx.partial_rooms().unwrap(), PartialRooms::default());
        });
    }
}
