//! Writing state: the coordinates after events, and the room's current state.

use rusqlite::params;

use crate::{ChainNid, Coordinate, Position, Result, Room, RoomNid, StateChange, WriteTx};

/// Chains between a coordinate and its main chain; a look-up visits at most so many and one.
const DEPTH_LIMIT: i64 = 16;

impl WriteTx<'_> {
    /// Gives a room without state its main chain, at the empty state.
    pub fn open_main_chain(&mut self, room: RoomNid) -> Result<Coordinate> {
        let sql =
            "INSERT INTO chains (room_nid, depth, head_ord) VALUES (?1, 0, 0) RETURNING chain_nid";
        let chain: ChainNid = self.one(sql, [room], |row| row.get(0))?;
        let sql = "UPDATE rooms SET main_chain_nid = ?2 WHERE room_nid = ?1";
        self.execute(sql, params![room, chain])?;
        Ok(Coordinate { chain, ord: 0 })
    }

    /// A new coordinate for the state at `base` with some changes, other than as the room's current state. The caller
    /// gives the changes to [`record_changes`](Self::record_changes); in between it may store the event they bring.
    pub fn fork_coordinate(&mut self, room: &Room, base: Coordinate) -> Result<Coordinate> {
        let is_main = room
            .current
            .is_some_and(|current| current.chain == base.chain);
        if !is_main {
            let sql =
                "UPDATE chains SET head_ord = head_ord + 1 WHERE chain_nid = ?1 AND head_ord = ?2";
            if self.execute(sql, params![base.chain, base.ord])? == 1 {
                return Ok(Coordinate {
                    chain: base.chain,
                    ord: base.ord + 1,
                });
            }
        }
        let sql = "SELECT depth FROM chains WHERE chain_nid = ?1";
        let depth: i64 = self.one(sql, [base.chain], |row| row.get(0))?;
        if depth < DEPTH_LIMIT {
            let chain = self.insert_chain(room.nid, base, depth + 1, 1)?;
            return Ok(Coordinate { chain, ord: 1 });
        }
        // Too deep to hang one more chain on: start over from the main chain with what differs.
        let main = room.current.unwrap_or(base);
        let difference = self.state_difference(main, base)?;
        let chain = self.insert_chain(room.nid, main, 1, 2)?;
        let copy = Coordinate { chain, ord: 1 };
        let position = self.next_position();
        self.record_changes(copy, &difference, position)?;
        Ok(Coordinate { chain, ord: 2 })
    }

    /// Writes down what distinguishes a coordinate from the one before it on its chain.
    pub fn record_changes(
        &mut self,
        at: Coordinate,
        changes: &[StateChange],
        seq: Position,
    ) -> Result<()> {
        let sql = "INSERT INTO chain_changes (chain_nid, state_key_nid, ord, event_nid, seq) VALUES (?1, ?2, ?3, ?4, ?5)";
        for change in changes {
            let params = params![at.chain, change.key, at.ord, change.event, seq];
            self.execute(sql, params)?;
        }
        Ok(())
    }

    /// Changes a room's current state, all at one coordinate, and the tables that follow from it: members, and which
    /// servers are in the room.
    pub fn change_current_state(
        &mut self,
        room: &mut Room,
        changes: &[StateChange],
        seq: Position,
    ) -> Result<Coordinate> {
        let head = match room.current {
            Some(head) => head,
            None => self.open_main_chain(room.nid)?,
        };
        room.current = Some(head);
        if changes.is_empty() {
            return Ok(head);
        }
        let next = Coordinate {
            chain: head.chain,
            ord: head.ord + 1,
        };
        let sql = "UPDATE chains SET head_ord = ?2 WHERE chain_nid = ?1";
        self.execute(sql, params![next.chain, next.ord])?;
        self.record_changes(next, changes, seq)?;
        for change in changes {
            self.set_current_state_entry(room.nid, *change)?;
            self.follow_membership(room.nid, *change, seq)?;
        }
        room.current = Some(next);
        Ok(next)
    }

    /// The same with entries that were missing from it. Members of other servers were there when this server joined.
    pub fn complete_current_state(
        &mut self,
        room: &mut Room,
        entries: &[StateChange],
        seq: Position,
    ) -> Result<()> {
        self.change_current_state(room, entries, seq)?;
        if let Some(partial_from) = room.partial_from {
            self.date_back_members(room.nid, entries, partial_from)?;
        }
        Ok(())
    }

    fn set_current_state_entry(&mut self, room: RoomNid, change: StateChange) -> Result<()> {
        match change.event {
            Some(event) => self.execute(
                "INSERT INTO current_state (room_nid, state_key_nid, event_nid) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (room_nid, state_key_nid) DO UPDATE SET event_nid = excluded.event_nid",
                params![room, change.key, event],
            )?,
            None => self.execute(
                "DELETE FROM current_state WHERE room_nid = ?1 AND state_key_nid = ?2",
                params![room, change.key],
            )?,
        };
        Ok(())
    }

    fn insert_chain(
        &mut self,
        room: RoomNid,
        parent: Coordinate,
        depth: i64,
        head_ord: i64,
    ) -> Result<ChainNid> {
        let sql = "INSERT INTO chains (room_nid, parent_chain_nid, parent_ord, depth, head_ord) \
                   VALUES (?1, ?2, ?3, ?4, ?5) RETURNING chain_nid";
        let params = params![room, parent.chain, parent.ord, depth, head_ord];
        self.one(sql, params, |row| row.get(0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::rooms::test_room::{TestRoom, with_room};

    fn change(key: (crate::StateKeyNid, crate::EventNid)) -> StateChange {
        StateChange {
            key: key.0,
            event: Some(key.1),
        }
    }

    fn fork(test: &mut TestRoom<'_>, base: Coordinate, changes: &[StateChange]) -> Coordinate {
        let at = test.tx.fork_coordinate(&test.room, base).unwrap();
        let seq = test.tx.next_position();
        test.tx.record_changes(at, changes, seq).unwrap();
        at
    }

    #[test]
    fn what_is_added_later_changes_no_earlier_state() {
        with_room(|mut test| {
            let (a, b) = (test.state_event("$a", "x"), test.state_event("$b", "y"));
            let empty = test.head();
            let seq = test.tx.next_position();
            let room = &mut test.room;
            let first = test
                .tx
                .change_current_state(room, &[change(a)], seq)
                .unwrap();
            let aside = fork(&mut test, empty, &[change(b)]);
            let gone = StateChange {
                key: a.0,
                event: None,
            };
            let seq = test.tx.next_position();
            let room = &mut test.room;
            let second = test
                .tx
                .change_current_state(room, &[gone, change(b)], seq)
                .unwrap();
            for (at, expected) in [
                (empty, vec![]),
                (first, vec![a]),
                (aside, vec![b]),
                (second, vec![b]),
            ] {
                let state: HashMap<_, _> = expected.into_iter().collect();
                assert_eq!(test.tx.state_at(at).unwrap(), state);
                for key in [a.0, b.0] {
                    let entry = test.tx.state_nid_at(at, key).unwrap();
                    assert_eq!(entry, state.get(&key).copied());
                }
            }
            let difference = test.tx.state_difference(first, second).unwrap();
            assert_eq!(difference.len(), 2);
            assert!(test.tx.state_difference(aside, second).unwrap().is_empty());
        });
    }

    #[test]
    fn a_chain_grows_at_its_end_and_forks_elsewhere() {
        with_room(|mut test| {
            let (a, b) = (test.state_event("$a", "x"), test.state_event("$b", "x"));
            let main = test.head();
            let one = fork(&mut test, main, &[change(a)]);
            assert_ne!(
                one.chain, main.chain,
                "the main chain is the current state's alone"
            );
            let two = fork(&mut test, one, &[change(b)]);
            assert_eq!(two.chain, one.chain);
            let other = fork(&mut test, one, &[change(b)]);
            assert_ne!(other.chain, one.chain);
            assert_eq!(
                test.tx.state_at(other).unwrap(),
                test.tx.state_at(two).unwrap()
            );
        });
    }

    #[test]
    fn forks_of_forks_stay_shallow() {
        with_room(|mut test| {
            let mut base = test.head();
            let mut expected = HashMap::new();
            for number in 0..3 * DEPTH_LIMIT {
                let (id, key) = (format!("${number}"), (number % 7).to_string());
                let event = test.state_event(&id, &key);
                let next = fork(&mut test, base, &[change(event)]);
                // Occupies the end of the chain, so that the next fork needs one of its own.
                let (key, _) = event;
                fork(&mut test, next, &[StateChange { key, event: None }]);
                expected.insert(event.0, event.1);
                base = next;
                assert_eq!(test.tx.state_at(base).unwrap(), expected);
                let sql = "SELECT depth FROM chains WHERE chain_nid = ?1";
                let depth: i64 = test.tx.one(sql, [base.chain], |row| row.get(0)).unwrap();
                assert!(depth <= DEPTH_LIMIT);
            }
        });
    }
}
