//! Events that arrived without what they build upon.

use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedServerName, ServerName};
use rusqlite::params;

use crate::{Error, ReadTx, Result, RoomNid, WriteTx};

/// An event that waits for what it builds upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingPdu {
    /// Its room.
    pub room: RoomNid,
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// Its id.
    pub event_id: OwnedEventId,
    /// Who sent it.
    pub origin: OwnedServerName,
    /// The event as it came.
    pub json: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl ReadTx<'_> {
    /// Events that are to be tried again by now, those first that are due for longest: at most `limit`. One that is put off
    /// beyond `horizon_ms`, further than any is, is due as well: the clock was wrong when that was written.
    pub fn due_waiting_pdus(
        &self,
        now_ms: u64,
        horizon_ms: u64,
        limit: u32,
    ) -> Result<Vec<WaitingPdu>> {
        let sql = "SELECT room_nid, room_id, event_id, server_name, json, attempts
             FROM waiting_pdus JOIN rooms USING (room_nid) JOIN servers USING (server_nid)
             WHERE retry_ts <= ?1 OR retry_ts > ?2 ORDER BY retry_ts LIMIT ?3";
        let rows = self.all(sql, params![now_ms, horizon_ms, limit], |row| {
            Ok((
                row.get(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
                row.get(4)?,
                row.get(5)?,
            ))
        })?;
        rows.into_iter()
            .map(|(room, room_id, event_id, origin, json, attempts)| {
                Ok(WaitingPdu {
                    room,
                    room_id: room_id
                        .try_into()
                        .map_err(|error| Error::invalid("room id", error))?,
                    event_id: event_id
                        .try_into()
                        .map_err(|error| Error::invalid("event id", error))?,
                    origin: origin
                        .try_into()
                        .map_err(|error| Error::invalid("server name", error))?,
                    json,
                    attempts,
                })
            })
            .collect()
    }
}

impl WriteTx<'_> {
    /// Keeps an event until `retry_ts`, unless the room or its origin has too many. Says whether it is kept; one that is
    /// kept already stays as it is.
    pub fn keep_waiting_pdu(
        &mut self,
        room: RoomNid,
        event_id: &EventId,
        origin: &ServerName,
        json: &str,
        retry_ts: u64,
    ) -> Result<bool> {
        const ROOM: i64 = 100;
        const ORIGIN: i64 = 1_000;
        let known = "SELECT 1 FROM waiting_pdus WHERE room_nid = ?1 AND event_id = ?2";
        let known = self.optional(known, params![room, event_id.as_str()], |_| Ok(()))?;
        if known.is_some() {
            return Ok(true);
        }
        let server = self.server_nid_or_insert(origin)?;
        let count = |sql, nid: i64| self.one(sql, [nid], |row| row.get::<_, i64>(0));
        let in_room = count(
            "SELECT COUNT(*) FROM waiting_pdus WHERE room_nid = ?1",
            room.0,
        )?;
        let of_origin = count(
            "SELECT COUNT(*) FROM waiting_pdus WHERE server_nid = ?1",
            server.0,
        )?;
        if in_room >= ROOM || of_origin >= ORIGIN {
            return Ok(false);
        }
        self.execute(
            "INSERT INTO waiting_pdus (room_nid, event_id, server_nid, json, attempts, retry_ts)
             VALUES (?1, ?2, ?3, ?4, 1, ?5)",
            params![room, event_id.as_str(), server, json, retry_ts],
        )?;
        Ok(true)
    }

    /// Has an event wait once more.
    pub fn put_off_waiting_pdu(
        &mut self,
        room: RoomNid,
        event_id: &EventId,
        retry_ts: u64,
    ) -> Result<()> {
        let sql = "UPDATE waiting_pdus SET attempts = attempts + 1, retry_ts = ?3
             WHERE room_nid = ?1 AND event_id = ?2";
        self.execute(sql, params![room, event_id.as_str(), retry_ts])?;
        Ok(())
    }

    /// Lets go of an event that has its place, or will never have one.
    pub fn delete_waiting_pdu(&mut self, room: RoomNid, event_id: &EventId) -> Result<()> {
        let sql = "DELETE FROM waiting_pdus WHERE room_nid = ?1 AND event_id = ?2";
        self.execute(sql, params![room, event_id.as_str()])?;
        Ok(())
    }
}
