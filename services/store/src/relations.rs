//! Events that relate to other events.

use ruma::EventId;
use rusqlite::params;

use crate::{EventNid, ReadTx, Result, RoomNid, Stretch, UserNid};

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

/// What of one kind relates to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationCount {
    /// How the events relate.
    pub rel_type: String,
    /// How many there are.
    pub count: u64,
    /// The newest.
    pub latest: EventNid,
    /// Whether the user asked about sent one of them.
    pub by_user: bool,
}

impl ReadTx<'_> {
    /// How many events relate to an event in each way, redacted ones left out.
    pub fn relation_counts(
        &self,
        room: RoomNid,
        parent: &str,
        user: UserNid,
    ) -> Result<Vec<RelationCount>> {
        // Most events have none, and finding that out must cost next to nothing.
        let sql = "SELECT 1 FROM event_relations WHERE room_nid = ?1 AND parent_id = ?2 LIMIT 1";
        if self
            .optional(sql, params![room, parent], |_| Ok(()))?
            .is_none()
        {
            return Ok(Vec::new());
        }
        let sql = "SELECT rel_type, count(*), max(by_user), max(latest) FROM (
                     SELECT r.rel_type AS rel_type, e.sender_nid = ?3 AS by_user,
                       first_value(r.child_nid) OVER (PARTITION BY r.rel_type ORDER BY r.pos DESC) AS latest
                     FROM event_relations r JOIN events e ON e.event_nid = r.child_nid
                     WHERE r.room_nid = ?1 AND r.parent_id = ?2 AND e.redacted_by IS NULL) c
                   GROUP BY rel_type";
        self.all(sql, params![room, parent, user], |row| {
            Ok(RelationCount {
                rel_type: row.get(0)?,
                count: row.get(1)?,
                by_user: row.get(2)?,
                latest: row.get(3)?,
            })
        })
    }

    /// The roots of a room's threads with the places of their newest replies, those first that were replied to last: the
    /// ones whose newest reply lies at `until` or before. With `user`, only threads in which that user wrote.
    pub fn threads(
        &self,
        room: RoomNid,
        user: Option<UserNid>,
        until: i64,
        limit: u32,
    ) -> Result<Vec<(EventNid, i64)>> {
        let sql = "SELECT p.event_nid, t.latest FROM (
                     SELECT parent_id, max(pos) AS latest FROM event_relations
                     WHERE room_nid = ?1 AND rel_type = 'm.thread' GROUP BY parent_id) t
                   JOIN events p ON p.room_nid = ?1 AND p.event_id = t.parent_id
                   WHERE t.latest <= ?3 AND (?2 IS NULL OR p.sender_nid = ?2 OR EXISTS (
                     SELECT 1 FROM event_relations r JOIN events e ON e.event_nid = r.child_nid
                     WHERE r.room_nid = ?1 AND r.parent_id = t.parent_id
                       AND r.rel_type = 'm.thread' AND e.sender_nid = ?2))
                   ORDER BY t.latest DESC LIMIT ?4";
        self.all(sql, params![room, user, until, limit], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// The newest edit of an event: by its sender, of its type.
    pub fn latest_replacement(&self, room: RoomNid, parent: &str) -> Result<Option<EventNid>> {
        let sql = "SELECT e.event_nid FROM events p
                   JOIN event_relations r ON r.room_nid = p.room_nid AND r.parent_id = p.event_id
                   JOIN events e ON e.event_nid = r.child_nid
                   WHERE p.room_nid = ?1 AND p.event_id = ?2 AND r.rel_type = 'm.replace'
                     AND e.sender_nid = p.sender_nid AND e.event_type = p.event_type
                     AND e.state_key_nid IS NULL AND e.redacted_by IS NULL
                   ORDER BY e.origin_server_ts DESC, e.event_id DESC LIMIT 1";
        self.optional(sql, params![room, parent], |row| row.get(0))
    }

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
