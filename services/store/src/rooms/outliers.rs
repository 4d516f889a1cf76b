//! Events without a place in the graph.

use ruma::EventId;
use rusqlite::params;

use crate::{EventStatus, Pdu, ReadTx, Result, RoomNid, WriteTx};

impl ReadTx<'_> {
    /// Whether an event is here on the word of those who signed it alone: stored when none of its auth events was.
    pub fn is_unchecked_outlier(&self, room: RoomNid, event_id: &EventId) -> Result<bool> {
        let sql = "SELECT before_chain_nid IS NULL AND NOT EXISTS \
                   (SELECT 1 FROM event_auth a WHERE a.event_nid = e.event_nid) \
                   FROM events e WHERE room_nid = ?1 AND event_id = ?2 AND state_key_nid IS NOT NULL";
        let found = self.optional(sql, params![room, event_id.as_str()], |row| row.get(0))?;
        Ok(found.unwrap_or(false))
    }
}

impl WriteTx<'_> {
    /// Gives such an event what the rules say about it, now that its auth events are here.
    pub fn check_outlier(&mut self, room: RoomNid, pdu: &Pdu, status: EventStatus) -> Result<()> {
        let Some(event) = self.event_nid(room, pdu.event_id())? else {
            return Ok(());
        };
        let sql = "UPDATE events SET status = ?2 WHERE event_nid = ?1 AND before_chain_nid IS NULL";
        self.execute(sql, params![event, status])?;
        self.insert_auth_events(room, event, pdu)
    }
}
