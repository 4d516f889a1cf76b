//! The ends of the event graph: forward extremities (tips), and events that are missing behind it.

use ruma::{EventId, OwnedEventId};
use rusqlite::params;

use super::parsed;
use crate::{EventNid, ReadTx, Result, RoomNid, Stretch, WriteTx};

/// An event without successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its integer id.
    pub nid: EventNid,
    /// Its Matrix id.
    pub event_id: OwnedEventId,
    /// Its depth.
    pub depth: i64,
}

impl ReadTx<'_> {
    /// The forward extremities of a room, deepest first.
    pub fn tips(&self, room: RoomNid) -> Result<Vec<Tip>> {
        let sql = "SELECT e.event_nid, e.event_id, e.depth FROM tips t JOIN events e ON e.event_nid = t.event_nid \
                   WHERE t.room_nid = ?1 ORDER BY e.depth DESC, e.event_nid DESC";
        self.all(sql, [room], |row| {
            Ok(Tip {
                nid: row.get("event_nid")?,
                event_id: parsed(row, "event_id")?,
                depth: row.get("depth")?,
            })
        })
    }

    /// Parents that this server does not have, each with one of their children, at most `limit` of them; those behind
    /// the newest events first.
    pub fn missing_prevs(
        &self,
        room: RoomNid,
        limit: usize,
    ) -> Result<Vec<(OwnedEventId, OwnedEventId)>> {
        let sql = "SELECT m.event_id, e.event_id AS child_id FROM missing_prevs m \
                   JOIN events e ON e.event_nid = m.child_nid \
                   WHERE m.room_nid = ?1 ORDER BY e.depth DESC, m.event_id LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.all(sql, params![room, limit], |row| {
            Ok((parsed(row, "event_id")?, parsed(row, "child_id")?))
        })
    }

    /// Whether one of these parents is missing here.
    pub fn lacks_parent(&self, room: RoomNid, prev_events: &[OwnedEventId]) -> Result<bool> {
        let sql = "SELECT 1 FROM events WHERE room_nid = ?1 AND event_id = ?2 AND before_chain_nid IS NOT NULL";
        for prev_event in prev_events {
            let found = self.optional(sql, params![room, prev_event.as_str()], |_| Ok(()))?;
            if found.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Parents that this server does not have of events in a stretch of the timeline, at most `limit` of them.
    pub fn missing_prevs_in(
        &self,
        room: RoomNid,
        stretch: Stretch,
        limit: usize,
    ) -> Result<Vec<OwnedEventId>> {
        let sql = "SELECT DISTINCT m.event_id FROM missing_prevs m \
                   JOIN events e ON e.event_nid = m.child_nid \
                   WHERE m.room_nid = ?1 AND e.pos > ?2 AND e.pos <= ?3 ORDER BY m.event_id LIMIT ?4";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let params = params![room, stretch.after, stretch.until, limit];
        self.all(sql, params, |row| parsed(row, "event_id"))
    }

    /// Whether some events before the room's first one are missing here.
    pub fn has_missing_prevs(&self, room: RoomNid) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM missing_prevs WHERE room_nid = ?1)";
        self.one(sql, [room], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Makes an event a forward extremity in place of those among its parents that were.
    pub fn advance_tips(
        &mut self,
        room: RoomNid,
        event: EventNid,
        prev_events: &[OwnedEventId],
    ) -> Result<()> {
        let sql = "DELETE FROM tips WHERE room_nid = ?1 AND event_nid = \
                   (SELECT event_nid FROM events WHERE room_nid = ?1 AND event_id = ?2)";
        for prev_event in prev_events {
            self.execute(sql, params![room, prev_event.as_str()])?;
        }
        let sql = "INSERT INTO tips (room_nid, event_nid) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        self.execute(sql, params![room, event])?;
        Ok(())
    }

    /// Takes every forward extremity away, for a room that this server joins anew.
    pub fn clear_tips(&mut self, room: RoomNid) -> Result<()> {
        self.execute("DELETE FROM tips WHERE room_nid = ?1", [room])?;
        Ok(())
    }

    /// Notes which parents of an event in the graph are missing, and that the event itself no longer is.
    pub fn note_missing_prevs(
        &mut self,
        room: RoomNid,
        event: EventNid,
        event_id: &EventId,
        prev_events: &[OwnedEventId],
    ) -> Result<()> {
        let sql = "DELETE FROM missing_prevs WHERE room_nid = ?1 AND event_id = ?2";
        self.execute(sql, params![room, event_id.as_str()])?;
        // An outlier has no place in the graph: its parents are as unknown as if it were missing.
        let sql = "INSERT INTO missing_prevs (room_nid, event_id, child_nid) \
                   SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM events \
                   WHERE room_nid = ?1 AND event_id = ?2 AND before_chain_nid IS NOT NULL) ON CONFLICT DO NOTHING";
        for prev_event in prev_events {
            self.execute(sql, params![room, prev_event.as_str(), event])?;
        }
        Ok(())
    }
}
