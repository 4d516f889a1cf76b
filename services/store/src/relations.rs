//! Events that relate to other events.

use ruma::EventId;
use rusqlite::params;

use crate::{EventNid, ReadTx, Result, RoomNid, sync_queries::Stretch};

/// An event that relates to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The related event.
    pub child: EventNid,
    /// Its place in the timeline.
    pub pos: i64,
    /// How it relates: `m.thread`, `m.replace`, ...
    pub rel_type: String,
}

impl ReadTx<'_> {
    /// The events of a stretch of the timeline that relate to an event, redacted ones left out: newest first, or oldest
    /// first. With `rel_type`, only those that relate in that way; with `event_type`, only those of that type.
    pub fn relations(
        &self,
        room: RoomNid,
        parent: &EventId,
        kind: (Option<&str>, Option<&str>),
        stretch: Stretch,
        newest_first: bool,
        limit: u32,
    ) -> Result<Vec<Relation>> {
        let backward = "SELECT r.child_nid, r.pos, r.rel_type FROM event_relations r
             JOIN events e ON e.event_nid = r.child_nid
             WHERE r.room_nid = ?1 AND r.parent_id = ?2 AND r.pos > ?3 AND r.pos <= ?4
               AND (?5 IS NULL OR r.rel_type = ?5) AND (?6 IS NULL OR e.event_type = ?6)
               AND e.redacted_by IS NULL
             ORDER BY r.pos DESC LIMIT ?7";
        let forward = "SELECT r.child_nid, r.pos, r.rel_type FROM event_relations r
             JOIN events e ON e.event_nid = r.child_nid
             WHERE r.room_nid = ?1 AND r.parent_id = ?2 AND r.pos > ?3 AND r.pos <= ?4
               AND (?5 IS NULL OR r.rel_type = ?5) AND (?6 IS NULL OR e.event_type = ?6)
               AND e.redacted_by IS NULL
             ORDER BY r.pos LIMIT ?7";
        let sql = if newest_first { backward } else { forward };
        let (rel_type, event_type) = kind;
        let params = params![
            room,
            parent.as_str(),
            stretch.after,
            stretch.until,
            rel_type,
            event_type,
            limit
        ];
        self.all(sql, params, |row| {
            Ok(Relation {
                child: row.get(0)?,
                pos: row.get(1)?,
                rel_type: row.get(2)?,
            })
        })
    }
}
