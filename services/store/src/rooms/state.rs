//! Reading state at coordinates.

use std::collections::HashMap;

use ruma::{
    OwnedEventId, UserId,
    events::{StateEventType, room::member::MembershipState},
    state_res::StateMap,
};
use rusqlite::params;

use super::{
    events::{read_event, select_event},
    parsed,
};
use crate::{
    ChainNid, Coordinate, Event, EventNid, Position, ReadTx, Result, RoomNid, StateKeyNid,
};

/// One entry of a room's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// Type and state key.
    pub key: StateKeyNid,
    /// The event's type.
    pub event_type: StateEventType,
    /// The event's state key.
    pub state_key: String,
    /// The event.
    pub event: EventNid,
    /// The event's Matrix id.
    pub event_id: OwnedEventId,
}

/// What stands at one type and state key of a room's current state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentEntry {
    /// The event.
    pub event: EventNid,
    /// The event's Matrix id.
    pub event_id: OwnedEventId,
    /// Whether a redaction took content away.
    pub is_redacted: bool,
}

/// One change of a state: to another event, or (`None`) to no event at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Type and state key.
    pub key: StateKeyNid,
    /// What stands there from now on.
    pub event: Option<EventNid>,
}

impl ReadTx<'_> {
    /// The event at a type and state key in the state at a coordinate.
    pub fn state_entry_at(
        &self,
        at: Coordinate,
        event_type: &StateEventType,
        state_key: &str,
    ) -> Result<Option<EventNid>> {
        match self.state_key_nid(event_type, state_key)? {
            Some(key) => self.state_nid_at(at, key),
            None => Ok(None),
        }
    }

    /// The same by integer id.
    pub fn state_nid_at(&self, at: Coordinate, key: StateKeyNid) -> Result<Option<EventNid>> {
        let sql = "SELECT event_nid FROM chain_changes \
                   WHERE chain_nid = ?1 AND state_key_nid = ?2 AND ord <= ?3 ORDER BY ord DESC LIMIT 1";
        let mut next = Some(at);
        while let Some(at) = next {
            let found = self.optional(sql, params![at.chain, key, at.ord], |row| row.get(0))?;
            if let Some(entry) = found {
                return Ok(entry);
            }
            next = self.parent(at.chain)?;
        }
        Ok(None)
    }

    /// The whole state at a coordinate.
    pub fn state_at(&self, at: Coordinate) -> Result<HashMap<StateKeyNid, EventNid>> {
        let mut state = HashMap::new();
        for at in self.lineage(at)?.into_iter().rev() {
            for change in self.changes(at)? {
                match change.event {
                    Some(event) => state.insert(change.key, event),
                    None => state.remove(&change.key),
                };
            }
        }
        Ok(state)
    }

    /// The whole state at a coordinate by types, state keys and event ids, as state resolution wants it.
    pub fn state_map_at(&self, at: Coordinate) -> Result<StateMap<OwnedEventId>> {
        let sql = "SELECT k.event_type, k.state_key, e.event_id \
                   FROM events e JOIN state_keys k ON k.state_key_nid = e.state_key_nid WHERE e.event_nid = ?1";
        let state = self.state_at(at)?;
        let mut map = StateMap::with_capacity(state.len());
        for event in state.into_values() {
            let (key, event_id) = self.one(sql, [event], |row| {
                let event_type: String = row.get("event_type")?;
                let key = (event_type.into(), row.get("state_key")?);
                Ok((key, parsed(row, "event_id")?))
            })?;
            map.insert(key, event_id);
        }
        Ok(map)
    }

    /// What to change in the state at `from` to get the state at `to`.
    pub fn state_difference(&self, from: Coordinate, to: Coordinate) -> Result<Vec<StateChange>> {
        if from == to {
            return Ok(Vec::new());
        }
        let old = self.state_at(from)?;
        let new = self.state_at(to)?;
        let set = new
            .iter()
            .filter(|(key, event)| old.get(key) != Some(event))
            .map(|(key, event)| StateChange {
                key: *key,
                event: Some(*event),
            });
        let unset = old
            .keys()
            .filter(|key| !new.contains_key(key))
            .map(|key| StateChange {
                key: *key,
                event: None,
            });
        Ok(set.chain(unset).collect())
    }

    /// Membership of a user in the state at a coordinate; `leave` where they have none.
    pub fn membership_at(&self, at: Coordinate, user: &UserId) -> Result<MembershipState> {
        let entry = self.state_entry_at(at, &StateEventType::RoomMember, user.as_str())?;
        let Some(event) = entry else {
            return Ok(MembershipState::Leave);
        };
        let sql = "SELECT membership FROM events WHERE event_nid = ?1";
        let membership: Option<String> = self.one(sql, [event], |row| row.get(0))?;
        Ok(membership.map_or(MembershipState::Leave, MembershipState::from))
    }

    /// The current state of a room, in no particular order.
    pub fn current_state(&self, room: RoomNid) -> Result<Vec<StateEntry>> {
        let sql = "SELECT s.state_key_nid, k.event_type, k.state_key, s.event_nid, e.event_id \
                   FROM current_state s JOIN state_keys k ON k.state_key_nid = s.state_key_nid \
                   JOIN events e ON e.event_nid = s.event_nid WHERE s.room_nid = ?1";
        self.all(sql, [room], |row| {
            let event_type: String = row.get("event_type")?;
            Ok(StateEntry {
                key: row.get("state_key_nid")?,
                event_type: event_type.into(),
                state_key: row.get("state_key")?,
                event: row.get("event_nid")?,
                event_id: parsed(row, "event_id")?,
            })
        })
    }

    /// The id of the event at a type and state key of a room's current state, and whether it was redacted.
    pub fn current_state_entry(
        &self,
        room: RoomNid,
        event_type: &StateEventType,
        state_key: &str,
    ) -> Result<Option<CurrentEntry>> {
        let sql = "SELECT e.event_nid, e.event_id, e.redacted_by IS NOT NULL AS is_redacted FROM state_keys k \
                   JOIN current_state s ON s.room_nid = ?1 AND s.state_key_nid = k.state_key_nid \
                   JOIN events e ON e.event_nid = s.event_nid WHERE k.event_type = ?2 AND k.state_key = ?3";
        let params = params![room, event_type.to_string(), state_key];
        self.optional(sql, params, |row| {
            Ok(CurrentEntry {
                event: row.get("event_nid")?,
                event_id: parsed(row, "event_id")?,
                is_redacted: row.get("is_redacted")?,
            })
        })
    }

    /// The event at a type and state key of a room's current state.
    pub fn current_state_event(
        &self,
        room: RoomNid,
        event_type: &StateEventType,
        state_key: &str,
    ) -> Result<Option<Event>> {
        let sql = select_event!(
            "JOIN current_state s ON s.event_nid = e.event_nid \
             JOIN state_keys k ON k.state_key_nid = s.state_key_nid \
             WHERE s.room_nid = ?1 AND k.event_type = ?2 AND k.state_key = ?3"
        );
        let params = params![room, event_type.to_string(), state_key];
        self.optional(sql, params, read_event)
    }

    /// How a room's current state changed after one position up to another: the last change of each entry.
    pub fn current_state_changes(
        &self,
        room: RoomNid,
        after: Position,
        until: Position,
    ) -> Result<Vec<StateChange>> {
        let sql = "SELECT c.state_key_nid, c.event_nid FROM rooms r \
                   JOIN chain_changes c ON c.chain_nid = r.main_chain_nid \
                   WHERE r.room_nid = ?1 AND c.seq > ?2 AND c.seq <= ?3 ORDER BY c.ord";
        let changes = self.all(sql, params![room, after, until], read_change)?;
        Ok(last_of_each(changes))
    }

    /// The room's current state as it stood at a position; `None` where this server did not hold it yet.
    pub fn current_coordinate_at(
        &self,
        room: RoomNid,
        position: Position,
    ) -> Result<Option<Coordinate>> {
        let sql = "SELECT c.chain_nid, c.ord FROM rooms r JOIN chain_changes c ON c.chain_nid = r.main_chain_nid \
                   WHERE r.room_nid = ?1 AND c.seq <= ?2 ORDER BY c.seq DESC, c.ord DESC LIMIT 1";
        let found = self.optional(sql, params![room, position], |row| {
            Coordinate::from_columns(row, "chain_nid", "ord")
        })?;
        Ok(found.flatten())
    }

    /// The changes of a coordinate's chain up to it, oldest first.
    fn changes(&self, at: Coordinate) -> Result<Vec<StateChange>> {
        let sql = "SELECT state_key_nid, event_nid FROM chain_changes \
                   WHERE chain_nid = ?1 AND ord <= ?2 ORDER BY ord";
        self.all(sql, params![at.chain, at.ord], read_change)
    }

    fn parent(&self, chain: ChainNid) -> Result<Option<Coordinate>> {
        let sql = "SELECT parent_chain_nid, parent_ord FROM chains WHERE chain_nid = ?1";
        self.one(sql, [chain], |row| {
            Coordinate::from_columns(row, "parent_chain_nid", "parent_ord")
        })
    }

    /// A coordinate, what its chain forks from, and so on up to a chain without parent.
    fn lineage(&self, at: Coordinate) -> Result<Vec<Coordinate>> {
        let mut lineage = vec![at];
        let mut chain = at.chain;
        while let Some(parent) = self.parent(chain)? {
            lineage.push(parent);
            chain = parent.chain;
        }
        Ok(lineage)
    }
}

fn read_change(row: &rusqlite::Row<'_>) -> rusqlite::Result<StateChange> {
    Ok(StateChange {
        key: row.get("state_key_nid")?,
        event: row.get("event_nid")?,
    })
}

fn last_of_each(changes: Vec<StateChange>) -> Vec<StateChange> {
    let mut last = HashMap::new();
    for change in changes {
        last.insert(change.key, change.event);
    }
    last.into_iter()
        .map(|(key, event)| StateChange { key, event })
        .collect()
}
