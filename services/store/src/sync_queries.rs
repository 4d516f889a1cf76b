//! What clients read of rooms: timelines, state, and which rooms changed for a user.

use std::collections::BTreeSet;

use ruma::{EventId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use rusqlite::{Row, params};

use crate::{
    ChainNid, Coordinate, Error, EventNid, Position, ReadTx, Result, RoomNid, StateKeyNid, UserNid,
};

/// A stored event, as far as clients are concerned.
#[derive(Clone, Debug)]
pub struct ClientRow {
    /// Its integer id.
    pub nid: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// Its Matrix id.
    pub event_id: String,
    /// Its place in the room's timeline, if it has one.
    pub pos: Option<i64>,
    /// The global position at which it was stored.
    pub seq: Position,
    /// Who sent it.
    pub sender: UserNid,
    /// Its type and state key, if it is a state event.
    pub state_key: Option<StateKeyNid>,
    /// Whether it is a membership event.
    pub is_membership: bool,
    /// The state before it; `None` for an outlier.
    pub before: Option<Coordinate>,
    /// The state after it; `None` for an outlier.
    pub after: Option<Coordinate>,
    /// The redaction that took its content away.
    pub redacted_by: Option<EventNid>,
    /// Canonical JSON, without event id and `unsigned`.
    pub json: String,
}

/// A stretch of a timeline: the events with `after < pos <= until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Just before the oldest place.
    pub after: i64,
    /// The newest place.
    pub until: i64,
}

/// A room that a user has, or had, something to do with.
#[derive(Clone, Debug)]
pub struct UserRoom {
    /// The room.
    pub room: RoomNid,
    /// What the user is to it.
    pub membership: MembershipState,
    /// The event that says so.
    pub event: EventNid,
    /// The global position of the last change of the membership event.
    pub seq: Position,
    /// Whether the timeline has an event after the position asked about.
    pub has_events: bool,
    /// Whether somebody's receipt came after it.
    pub has_receipts: bool,
    /// Whether the user read the room after it.
    pub has_read: bool,
    /// Whether the last members that were missing from the room's state came after it.
    pub was_completed: bool,
}

/// Which entries of a room's current state to read.
#[derive(Clone, Copy, Debug)]
pub enum StateSelection {
    /// All.
    All,
    /// All but memberships.
    WithoutMembers,
    /// Those that changed after a position.
    ChangedAfter(Position),
}

/// One change of one entry of a room's state log.
#[derive(Clone, Debug)]
pub struct LoggedChange {
    /// Its place in the main chain.
    pub ord: i64,
    /// The global position of the change.
    pub seq: Position,
    /// The event; `None` where the entry was taken out.
    pub event: Option<EventNid>,
    /// Its `content.membership`, where it is a membership event.
    pub membership: Option<MembershipState>,
}

/// Columns of [`ClientRow`], in the order in which [`client_row`] reads them.
macro_rules! select_client_rows {
    ($tail:literal) => {
        concat!(
            "SELECT e.event_nid, e.event_id, e.pos, e.seq, e.sender_nid, e.state_key_nid, ",
            "e.before_chain_nid, e.before_ord, e.after_chain_nid, e.after_ord, e.redacted_by, j.json, e.membership IS NOT NULL, e.room_nid ",
            $tail
        )
    };
}

/// Columns of [`UserRoom`] for user 1 after position 2, in the order in which [`user_room`] reads them.
macro_rules! select_user_rooms {
    ($which:literal) => {
        concat!(
            "SELECT m.room_nid, m.membership, m.event_nid, m.seq,
               EXISTS (SELECT 1 FROM events e WHERE e.room_nid = m.room_nid AND e.pos > ?2),
               EXISTS (SELECT 1 FROM receipts r WHERE r.room_nid = m.room_nid AND r.seq > ?2),
               EXISTS (SELECT 1 FROM read_positions p
                       WHERE p.user_nid = ?1 AND p.room_nid = m.room_nid AND p.seq > ?2),
               EXISTS (SELECT 1 FROM rooms r WHERE r.room_nid = m.room_nid AND r.complete_from > ?2)
             FROM members m
             WHERE m.user_nid = ?1 AND (m.membership = 'join' OR m.seq > ?2)
               AND (m.forgotten = 0 OR ?2 > 0)",
            $which
        )
    };
}

impl ReadTx<'_> {
    /// A room, and a user's membership in it; `None` where the user never had one.
    pub fn room_with_membership(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Option<(RoomNid, MembershipState)>> {
        let sql = "SELECT m.room_nid, m.membership FROM rooms r
                   JOIN members m ON m.room_nid = r.room_nid
                   JOIN users u ON u.user_nid = m.user_nid
                   WHERE r.room_id = ?1 AND u.user_id = ?2";
        let found = self.optional(sql, params![room_id.as_str(), user_id.as_str()], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?))
        })?;
        Ok(found.map(|(room, membership)| (room, membership.into())))
    }

    /// An event's place in its room's timeline, if it has one.
    pub fn timeline_pos(&self, room: RoomNid, event_id: &EventId) -> Result<Option<i64>> {
        let sql = "SELECT pos FROM events WHERE room_nid = ?1 AND event_id = ?2";
        let pos = self.optional(sql, params![room, event_id.as_str()], |row| row.get(0))?;
        Ok(pos.flatten())
    }

    /// The rooms of a user that a sync after `since` may have to speak of: those joined, and those whose membership
    /// changed. Before `since` nothing happened. A room that the user has forgotten is told once more, so that their other
    /// devices learn of it, but not to a client that starts.
    pub fn user_rooms(&self, user: UserNid, since: Position) -> Result<Vec<UserRoom>> {
        let sql = select_user_rooms!("");
        self.all(sql, params![user, since], user_room)
    }

    /// The same of some rooms alone, with those added in which the user's membership or what they have read changed.
    pub fn user_rooms_among(
        &self,
        user: UserNid,
        since: Position,
        rooms: &mut BTreeSet<RoomNid>,
    ) -> Result<Vec<UserRoom>> {
        for sql in [
            "SELECT room_nid FROM members WHERE user_nid = ?1 AND seq > ?2",
            "SELECT room_nid FROM read_positions WHERE user_nid = ?1 AND seq > ?2",
        ] {
            let changed: Vec<RoomNid> = self.all(sql, params![user, since], |row| row.get(0))?;
            rooms.extend(changed);
        }
        let sql = select_user_rooms!(" AND m.room_nid = ?3");
        let mut found = Vec::new();
        for room in rooms.iter() {
            found.extend(self.optional(sql, params![user, since, room], user_room)?);
        }
        Ok(found)
    }

    /// Whether a membership of a user changed after a position.
    pub fn has_moved_since(&self, user: UserNid, since: Position) -> Result<bool> {
        let sql = "SELECT 1 FROM members WHERE user_nid = ?1 AND seq > ?2 LIMIT 1";
        let moved = self.optional(sql, params![user, since], |_| Ok(()))?;
        Ok(moved.is_some())
    }

    /// The place of the newest event of one of some types in a room's timeline up to a position. Only the newest `limit`
    /// events are looked at; where none of them is one, the place of the oldest of them.
    pub fn newest_place_of_types(
        &self,
        room: RoomNid,
        event_types: &[&str],
        until: Position,
        limit: u32,
    ) -> Result<Option<i64>> {
        let sql = "SELECT pos, event_type FROM events WHERE room_nid = ?1 AND pos <= ?2 ORDER BY pos DESC LIMIT ?3";
        // Nearly always one of the first few is of a wanted type.
        let mut page = limit.min(4);
        let mut until = until.0;
        let mut left = limit;
        let mut oldest = None;
        while page > 0 {
            let rows: Vec<(i64, String)> = self.all(sql, params![room, until, page], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            let wanted = rows
                .iter()
                .find(|(_, event_type)| event_types.contains(&event_type.as_str()));
            if let Some((pos, _)) = wanted {
                return Ok(Some(*pos));
            }
            let Some((last, _)) = rows.last() else { break };
            oldest = Some(*last);
            until = last.saturating_sub(1);
            left -= page;
            page = left;
        }
        Ok(oldest)
    }

    /// What a room's current state says of what kind of room it is: the JSON of its create event, and whether it is
    /// encrypted.
    pub fn room_kind(&self, room: RoomNid) -> Result<(Option<String>, bool)> {
        let sql = "SELECT k.event_type, j.json FROM state_keys k
                   JOIN current_state s ON s.room_nid = ?1 AND s.state_key_nid = k.state_key_nid
                   JOIN event_json j ON j.event_nid = s.event_nid
                   WHERE k.event_type IN ('m.room.create', 'm.room.encryption') AND k.state_key = ''";
        let found: Vec<(String, String)> =
            self.all(sql, [room], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut kind = (None, false);
        for (event_type, json) in found {
            if event_type == "m.room.create" {
                kind.0 = Some(json);
            } else {
                kind.1 = true;
            }
        }
        Ok(kind)
    }

    /// The newest events of a stretch of a timeline, newest first.
    pub fn timeline_backward(
        &self,
        room: RoomNid,
        stretch: Stretch,
        limit: u32,
    ) -> Result<Vec<ClientRow>> {
        let sql = select_client_rows!(
            "FROM events e JOIN event_json j ON j.event_nid = e.event_nid
             WHERE e.room_nid = ?1 AND e.pos > ?2 AND e.pos <= ?3 ORDER BY e.pos DESC LIMIT ?4"
        );
        let params = params![room, stretch.after, stretch.until, limit];
        self.all(sql, params, client_row)
    }

    /// The oldest events of a stretch of a timeline, oldest first.
    pub fn timeline_forward(
        &self,
        room: RoomNid,
        stretch: Stretch,
        limit: u32,
    ) -> Result<Vec<ClientRow>> {
        let sql = select_client_rows!(
            "FROM events e JOIN event_json j ON j.event_nid = e.event_nid
             WHERE e.room_nid = ?1 AND e.pos > ?2 AND e.pos <= ?3 ORDER BY e.pos LIMIT ?4"
        );
        let params = params![room, stretch.after, stretch.until, limit];
        self.all(sql, params, client_row)
    }

    /// The newest event of a stretch whose parents this server lacks: what lies before it is not what came before it.
    pub fn newest_gap(&self, room: RoomNid, stretch: Stretch) -> Result<Option<i64>> {
        let sql =
            "SELECT max(e.pos) FROM missing_prevs m JOIN events e ON e.event_nid = m.child_nid
                   WHERE m.room_nid = ?1 AND e.pos > ?2 AND e.pos <= ?3";
        self.one(sql, params![room, stretch.after, stretch.until], |row| {
            row.get(0)
        })
    }

    /// The oldest membership event of a room's timeline after a place, looked for among the first events there.
    pub fn first_membership_after(&self, room: RoomNid, after: i64) -> Result<Option<EventNid>> {
        let sql = "SELECT event_nid FROM
                     (SELECT event_nid, pos, membership FROM events
                      WHERE room_nid = ?1 AND pos > ?2 ORDER BY pos LIMIT 100) AS first
                   WHERE membership IS NOT NULL ORDER BY pos LIMIT 1";
        self.optional(sql, params![room, after], |row| row.get(0))
    }

    /// An event of a room that passed the checks.
    pub fn client_event(&self, room: RoomNid, event_id: &EventId) -> Result<Option<ClientRow>> {
        let sql = select_client_rows!(
            "FROM events e JOIN event_json j ON j.event_nid = e.event_nid
             WHERE e.room_nid = ?1 AND e.event_id = ?2 AND e.status = 0"
        );
        self.optional(sql, params![room, event_id.as_str()], client_row)
    }

    /// The event behind an integer id.
    pub fn client_event_by_nid(&self, event: EventNid) -> Result<ClientRow> {
        let sql = select_client_rows!(
            "FROM events e JOIN event_json j ON j.event_nid = e.event_nid WHERE e.event_nid = ?1"
        );
        self.one(sql, [event], client_row)
    }

    /// Events of a room's current state, in no particular order.
    pub fn client_state(&self, room: RoomNid, which: StateSelection) -> Result<Vec<ClientRow>> {
        match which {
            StateSelection::All => {
                let sql = select_client_rows!(
                    "FROM current_state s JOIN events e ON e.event_nid = s.event_nid
                     JOIN event_json j ON j.event_nid = s.event_nid WHERE s.room_nid = ?1"
                );
                self.all(sql, [room], client_row)
            }
            StateSelection::WithoutMembers => {
                let sql = select_client_rows!(
                    "FROM current_state s JOIN events e ON e.event_nid = s.event_nid
                     JOIN event_json j ON j.event_nid = s.event_nid
                     WHERE s.room_nid = ?1 AND e.event_type <> 'm.room.member'"
                );
                self.all(sql, [room], client_row)
            }
            StateSelection::ChangedAfter(position) => {
                let sql = select_client_rows!(
                    "FROM current_state s JOIN events e ON e.event_nid = s.event_nid
                     JOIN event_json j ON j.event_nid = s.event_nid
                     WHERE s.room_nid = ?1 AND s.state_key_nid IN (
                       SELECT c.state_key_nid FROM rooms r
                       JOIN chain_changes c ON c.chain_nid = r.main_chain_nid
                       WHERE r.room_nid = ?1 AND c.seq > ?2)"
                );
                self.all(sql, params![room, position], client_row)
            }
        }
    }

    /// The events of one type in a room's current state.
    pub fn client_state_of_type(&self, room: RoomNid, event_type: &str) -> Result<Vec<ClientRow>> {
        let sql = select_client_rows!(
            "FROM current_state s JOIN events e ON e.event_nid = s.event_nid
             JOIN event_json j ON j.event_nid = s.event_nid
             WHERE s.room_nid = ?1 AND e.event_type = ?2"
        );
        self.all(sql, params![room, event_type], client_row)
    }

    /// The membership events of a room's current state that have a given membership, or any.
    pub fn client_members(
        &self,
        room: RoomNid,
        membership: Option<&MembershipState>,
    ) -> Result<Vec<ClientRow>> {
        let sql = select_client_rows!(
            "FROM members m JOIN events e ON e.event_nid = m.event_nid
             JOIN event_json j ON j.event_nid = m.event_nid
             WHERE m.room_nid = ?1 AND (?2 IS NULL OR m.membership = ?2)"
        );
        let membership = membership.map(MembershipState::as_str);
        self.all(sql, params![room, membership], client_row)
    }

    /// What the log of a room's state says about one entry, oldest first; of very many, the last `limit`.
    pub fn logged_changes(
        &self,
        chain: ChainNid,
        key: StateKeyNid,
        limit: u32,
    ) -> Result<Vec<LoggedChange>> {
        let sql = "SELECT c.ord, c.seq, c.event_nid, e.membership
                   FROM chain_changes c LEFT JOIN events e ON e.event_nid = c.event_nid
                   WHERE c.chain_nid = ?1 AND c.state_key_nid = ?2 ORDER BY c.ord DESC LIMIT ?3";
        let mut changes = self.all(sql, params![chain, key, limit], |row| {
            Ok(LoggedChange {
                ord: row.get(0)?,
                seq: row.get(1)?,
                event: row.get(2)?,
                membership: row.get::<_, Option<String>>(3)?.map(Into::into),
            })
        })?;
        changes.reverse();
        Ok(changes)
    }

    /// Some members of a room other than one user, those first who have been there longest.
    pub fn some_members(
        &self,
        room: RoomNid,
        but: UserNid,
        memberships: [&MembershipState; 2],
        limit: u32,
    ) -> Result<Vec<OwnedUserId>> {
        let sql = "SELECT u.user_id FROM members m JOIN users u ON u.user_nid = m.user_nid
                   WHERE m.room_nid = ?1 AND m.membership IN (?3, ?4) AND m.user_nid <> ?2 LIMIT ?5";
        let [one, other] = memberships;
        let params = params![room, but, one.as_str(), other.as_str(), limit];
        let ids: Vec<String> = self.all(sql, params, |row| row.get(0))?;
        ids.into_iter()
            .map(|id| UserId::parse(id).map_err(|error| Error::invalid("user id", error)))
            .collect()
    }
}

fn user_room(row: &Row<'_>) -> rusqlite::Result<UserRoom> {
    Ok(UserRoom {
        room: row.get(0)?,
        membership: row.get::<_, String>(1)?.into(),
        event: row.get(2)?,
        seq: row.get(3)?,
        has_events: row.get(4)?,
        has_receipts: row.get(5)?,
        has_read: row.get(6)?,
        was_completed: row.get(7)?,
    })
}

fn client_row(row: &Row<'_>) -> rusqlite::Result<ClientRow> {
    Ok(ClientRow {
        nid: row.get(0)?,
        event_id: row.get(1)?,
        pos: row.get(2)?,
        seq: row.get(3)?,
        sender: row.get(4)?,
        state_key: row.get(5)?,
        before: coordinate(row.get(6)?, row.get(7)?),
        after: coordinate(row.get(8)?, row.get(9)?),
        redacted_by: row.get(10)?,
        json: row.get(11)?,
        is_membership: row.get(12)?,
        room: row.get(13)?,
    })
}

fn coordinate(chain: Option<ChainNid>, ord: Option<i64>) -> Option<Coordinate> {
    let (chain, ord) = chain.zip(ord)?;
    Some(Coordinate { chain, ord })
}
