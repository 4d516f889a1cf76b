//! Timeline events in the order of their timestamps.

use rusqlite::params;

use crate::{EventNid, ReadTx, Result, RoomNid};

/// Where an event lies in the order of timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedEvent {
    /// The event.
    pub event: EventNid,
    /// `origin_server_ts`: milliseconds since the Unix epoch, as the origin says.
    pub sent_ms: i64,
    /// Its place in the timeline: what parts events of the same millisecond.
    pub pos: i64,
}

impl ReadTx<'_> {
    /// At most `limit` timeline events behind one of that time and place, the nearest first.
    pub fn events_after_time(
        &self,
        room: RoomNid,
        sent_ms: i64,
        pos: i64,
        limit: u32,
    ) -> Result<Vec<TimedEvent>> {
        let sql = "SELECT event_nid, origin_server_ts, pos FROM events \
                   WHERE room_nid = ?1 AND pos IS NOT NULL AND (origin_server_ts, pos) > (?2, ?3) \
                   ORDER BY origin_server_ts, pos LIMIT ?4";
        self.timed_events(sql, room, sent_ms, pos, limit)
    }

    /// The same before it.
    pub fn events_before_time(
        &self,
        room: RoomNid,
        sent_ms: i64,
        pos: i64,
        limit: u32,
    ) -> Result<Vec<TimedEvent>> {
        let sql = "SELECT event_nid, origin_server_ts, pos FROM events \
                   WHERE room_nid = ?1 AND pos IS NOT NULL AND (origin_server_ts, pos) < (?2, ?3) \
                   ORDER BY origin_server_ts DESC, pos DESC LIMIT ?4";
        self.timed_events(sql, room, sent_ms, pos, limit)
    }

    fn timed_events(
        &self,
        sql: &str,
        room: RoomNid,
        sent_ms: i64,
        pos: i64,
        limit: u32,
    ) -> Result<Vec<TimedEvent>> {
        self.all(sql, params![room, sent_ms, pos, limit], |row| {
            Ok(TimedEvent {
                event: row.get(0)?,
                sent_ms: row.get(1)?,
                pos: row.get(2)?,
            })
        })
    }
}
