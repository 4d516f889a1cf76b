//! What to send to another server, read from the log of events behind its cursor.

use rusqlite::params;

use crate::{EventNid, Position, ReadTx, Result, ServerNid};

/// Outgoing events looked at in one read, so that a server that shares few rooms does not hold a reader for long.
const EXAMINED: i64 = 2_000;

impl ReadTx<'_> {
    /// At most `limit` events after a cursor that this server has to send to another, in the order in which it stored
    /// them, as position, integer id and canonical JSON; and the position up to which nothing else concerns the
    /// server: its next cursor once these are delivered. It equals the snapshot's position when there is no more.
    pub fn outgoing_pdus(
        &self,
        server: ServerNid,
        after: Position,
        limit: usize,
    ) -> Result<(Vec<(Position, EventNid, String)>, Position)> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT seq FROM events WHERE is_outgoing = 1 AND seq > ?1 ORDER BY seq LIMIT 1 OFFSET ?2";
        let horizon = self
            .optional(sql, params![after, EXAMINED - 1], |row| row.get(0))?
            .map_or_else(|| self.position(), Ok)?;
        // An event of the server itself (a join brokered for it) it has.
        let sql = "SELECT e.seq, e.event_nid, j.json FROM events e JOIN event_json j ON j.event_nid = e.event_nid \
                   JOIN users u ON u.user_nid = e.sender_nid \
                   WHERE e.is_outgoing = 1 AND e.seq > ?2 AND e.seq <= ?3 AND u.server_nid <> ?1 AND EXISTS (\
                       SELECT 1 FROM room_servers r WHERE r.room_nid = e.room_nid AND r.server_nid = ?1 \
                       AND r.from_seq <= e.seq AND (r.until_seq IS NULL OR r.until_seq >= e.seq)) \
                   ORDER BY e.seq LIMIT ?4";
        let pdus: Vec<(Position, EventNid, String)> =
            self.all(sql, params![server, after, horizon, limit], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let full = i64::try_from(pdus.len()).is_ok_and(|count| count == limit);
        let examined = match pdus.last() {
            Some((seq, ..)) if full => *seq,
            _ => horizon.max(after),
        };
        Ok((pdus, examined))
    }
}
