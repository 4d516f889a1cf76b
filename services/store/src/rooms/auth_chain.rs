//! Walking auth events.

use std::collections::HashSet;

use rusqlite::params;

use super::parsed;
use crate::{EventNid, ReadTx, Result};

/// Events in an auth chain at most. Far beyond any honest room.
pub const AUTH_CHAIN_LIMIT: usize = 100_000;

impl ReadTx<'_> {
    /// The events that authorise some events, those that authorise these, and so on, without the events themselves
    /// (unless one authorises another). Cut at [`AUTH_CHAIN_LIMIT`].
    pub fn auth_chain(&self, events: &[EventNid]) -> Result<HashSet<EventNid>> {
        let mut chain = HashSet::new();
        let mut next = events.to_vec();
        while let Some(event) = next.pop() {
            for auth_event in self.auth_events(event)? {
                if chain.len() >= AUTH_CHAIN_LIMIT {
                    return Ok(chain);
                }
                if chain.insert(auth_event) {
                    next.push(auth_event);
                }
            }
        }
        Ok(chain)
    }

    /// The events that authorise a state event directly.
    pub fn auth_events(&self, event: EventNid) -> Result<Vec<EventNid>> {
        let sql = "SELECT auth_nid FROM event_auth WHERE event_nid = ?1";
        self.all(sql, [event], |row| row.get(0))
    }

    /// The Matrix ids of some events of one room.
    pub fn event_ids(
        &self,
        events: impl IntoIterator<Item = EventNid>,
    ) -> Result<Vec<ruma::OwnedEventId>> {
        let sql = "SELECT event_id FROM events WHERE event_nid = ?1";
        events
            .into_iter()
            .map(|event| self.one(sql, params![event], |row| parsed(row, "event_id")))
            .collect()
    }
}
