//! Which servers are in which room, and when they were.

use ruma::OwnedServerName;
use rusqlite::params;

use super::parsed;
use crate::{Position, ReadTx, Result, RoomNid, ServerNid, Topic, WriteTx};

impl ReadTx<'_> {
    /// The servers with a joined user in a room, this one included.
    pub fn servers_in_room(&self, room: RoomNid) -> Result<Vec<(ServerNid, OwnedServerName)>> {
        let sql = "SELECT s.server_nid, s.server_name FROM room_servers r JOIN servers s ON s.server_nid = r.server_nid \
                   WHERE r.room_nid = ?1 AND r.until_seq IS NULL ORDER BY r.joined DESC, s.server_nid";
        self.all(sql, [room], |row| {
            Ok((row.get("server_nid")?, parsed(row, "server_name")?))
        })
    }

    /// Whether a server has a joined user in a room.
    pub fn is_server_in_room(&self, server: ServerNid, room: RoomNid) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM room_servers \
                   WHERE room_nid = ?1 AND server_nid = ?2 AND until_seq IS NULL)";
        self.one(sql, params![room, server], |row| row.get(0))
    }

    /// The rooms in which a server has a joined user.
    pub fn rooms_of_server(&self, server: ServerNid) -> Result<Vec<RoomNid>> {
        let sql = "SELECT room_nid FROM room_servers WHERE server_nid = ?1 AND until_seq IS NULL";
        self.all(sql, [server], |row| row.get(0))
    }

    /// The other servers that share a room with a user who is joined to it.
    pub fn servers_sharing_rooms(&self, user: crate::UserNid) -> Result<Vec<ServerNid>> {
        let sql = "SELECT DISTINCT r.server_nid FROM members m JOIN room_servers r ON r.room_nid = m.room_nid \
                   WHERE m.user_nid = ?1 AND m.membership = 'join' AND r.until_seq IS NULL AND r.server_nid <> ?2";
        self.all(sql, params![user, ServerNid::OWN], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Wakes the senders to every other server that an event at `seq` concerns.
    pub fn announce_destinations(&mut self, room: RoomNid, seq: Position) -> Result<()> {
        let sql = "SELECT server_nid FROM room_servers WHERE room_nid = ?1 AND server_nid <> ?2 \
                   AND from_seq <= ?3 AND (until_seq IS NULL OR until_seq >= ?3)";
        let servers: Vec<ServerNid> =
            self.all(sql, params![room, ServerNid::OWN, seq], |row| row.get(0))?;
        for server in servers {
            self.announce(Topic::Destination(server));
        }
        Ok(())
    }

    pub(super) fn count_join(
        &mut self,
        room: RoomNid,
        server: ServerNid,
        seq: Position,
    ) -> Result<()> {
        let sql = "UPDATE room_servers SET joined = joined + 1 \
                   WHERE room_nid = ?1 AND server_nid = ?2 AND until_seq IS NULL";
        if self.execute(sql, params![room, server])? > 0 {
            return Ok(());
        }
        // Who left and came back with one change of the state never was away.
        let sql = "INSERT INTO room_servers (room_nid, server_nid, from_seq, joined) VALUES (?1, ?2, ?3, 1) \
                   ON CONFLICT (room_nid, server_nid, from_seq) DO UPDATE SET until_seq = NULL, joined = 1";
        self.execute(sql, params![room, server, seq])?;
        Ok(())
    }

    pub(super) fn count_leave(
        &mut self,
        room: RoomNid,
        server: ServerNid,
        seq: Position,
    ) -> Result<()> {
        let sql = "UPDATE room_servers SET joined = joined - 1, until_seq = CASE WHEN joined > 1 OR told = 1 THEN NULL ELSE ?3 END \
                   WHERE room_nid = ?1 AND server_nid = ?2 AND until_seq IS NULL";
        self.execute(sql, params![room, server, seq])?;
        Ok(())
    }

    /// A server that is not in the room still hears of the one event that concerns its user: an invite taken back, a
    /// knock refused, a ban.
    pub(super) fn tell_absent_server(
        &mut self,
        room: RoomNid,
        server: ServerNid,
        seq: Position,
    ) -> Result<()> {
        if server == ServerNid::OWN || self.is_server_in_room(server, room)? {
            return Ok(());
        }
        let sql = "INSERT INTO room_servers (room_nid, server_nid, from_seq, until_seq, joined) \
                   VALUES (?1, ?2, ?3, ?3, 0) ON CONFLICT DO NOTHING";
        self.execute(sql, params![room, server, seq])?;
        Ok(())
    }
}
