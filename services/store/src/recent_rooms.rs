//! Which rooms changed of late, in memory: a sync asks for these instead of looking at every room of its user.

use std::collections::{BTreeSet, HashMap};

use crate::{Position, RoomNid};

/// Rooms remembered; what happened before the one that changed longest ago is then not known.
const ROOMS: usize = 65_536;

#[derive(Debug)]
pub(crate) struct RecentRooms {
    by_room: HashMap<RoomNid, Position>,
    by_position: BTreeSet<(Position, RoomNid)>,
    /// Every change after this position is here.
    since: Position,
}

impl RecentRooms {
    /// Nothing has changed since `position`.
    pub(crate) fn new(position: Position) -> Self {
        Self {
            by_room: HashMap::new(),
            by_position: BTreeSet::new(),
            since: position,
        }
    }

    pub(crate) fn note(&mut self, room: RoomNid, position: Position) {
        if let Some(older) = self.by_room.insert(room, position) {
            self.by_position.remove(&(older, room));
        }
        self.by_position.insert((position, room));
        while self.by_room.len() > ROOMS
            && let Some((position, room)) = self.by_position.pop_first()
        {
            self.by_room.remove(&room);
            self.since = position;
        }
    }

    /// The rooms that changed after a position; `None` where that is not known, or they are more than `limit`.
    pub(crate) fn changed_since(
        &self,
        position: Position,
        limit: usize,
    ) -> Option<BTreeSet<RoomNid>> {
        if position < self.since {
            return None;
        }
        let after = (Position(position.0.saturating_add(1)), RoomNid(i64::MIN));
        let mut rooms = BTreeSet::new();
        for (_, room) in self.by_position.range(after..) {
            if rooms.len() == limit {
                return None;
            }
            rooms.insert(*room);
        }
        Some(rooms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_known_as_far_back_as_it_is_remembered() {
        let mut recent = RecentRooms::new(Position(10));
        assert_eq!(recent.changed_since(Position(9), 5), None);
        recent.note(RoomNid(1), Position(11));
        recent.note(RoomNid(2), Position(12));
        recent.note(RoomNid(1), Position(13));
        let since = |position| recent.changed_since(Position(position), 5).unwrap();
        assert_eq!(since(10), BTreeSet::from([RoomNid(1), RoomNid(2)]));
        assert_eq!(since(12), BTreeSet::from([RoomNid(1)]));
        assert!(since(13).is_empty());
        assert_eq!(recent.changed_since(Position(10), 1), None);
    }

    #[test]
    fn the_room_that_changed_longest_ago_makes_room() {
        let mut recent = RecentRooms::new(Position(0));
        let count = i64::try_from(ROOMS).unwrap();
        for number in 1..=count + 1 {
            recent.note(RoomNid(number), Position(number));
        }
        assert_eq!(recent.changed_since(Position(0), ROOMS + 1), None);
        let rest = recent.changed_since(Position(1), ROOMS + 1).unwrap();
        assert_eq!(rest.len(), ROOMS);
    }
}
