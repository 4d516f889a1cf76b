//! What clients were sent, connection by connection. In memory only, and bounded: who is forgotten starts over.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use luxchat_store::{Position, RoomNid, UserNid};
use ruma::OwnedDeviceId;

use super::{
    required::Required,
    windows::{Facts, Windows},
};
use crate::{Error, Result};

/// Connections of one device; the one used longest ago makes room for a new one.
const PER_DEVICE: usize = 8;

/// Rooms remembered over all connections, an empty connection counting as one.
const ROOMS: usize = 1_000_000;

/// Names a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) user: UserNid,
    pub(super) device_id: OwnedDeviceId,
    pub(super) conn_id: Option<String>,
}

/// Up to where a client has something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Extent {
    /// It was never sent.
    #[default]
    Nothing,
    /// Up to a position, after which something happened.
    Until(Position),
    /// All there is.
    All,
}

impl Extent {
    /// After which position there is something to send, for a client that was sent a response at `last`.
    pub(super) fn position(self, last: Position) -> Option<Position> {
        match self {
            Self::Nothing => None,
            Self::Until(position) => Some(position),
            Self::All => Some(last),
        }
    }

    /// Something happened after `last` that is not sent.
    pub(super) fn miss(&mut self, last: Position) {
        if *self == Self::All {
            *self = Self::Until(last);
        }
    }
}

/// What a client was sent of one room.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    pub(super) room: Extent,
    pub(super) receipts: Extent,
    pub(super) account_data: Extent,
    /// Whether it was sent as a room that the user is joined to.
    pub(super) as_joined: bool,
    pub(super) timeline_limit: usize,
    pub(super) required: Arc<Required>,
}

/// What a client knows after a response.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The position of the response; `None` before the first one.
    pub(super) position: Option<Position>,
    pub(super) rooms: Arc<HashMap<RoomNid, Sent>>,
    pub(super) account_data: Extent,
    pub(super) device_lists: Extent,
    pub(super) thread_subscriptions: Extent,
    /// The user's rooms as lists sort and filter them.
    pub(super) facts: Arc<HashMap<RoomNid, Facts>>,
    /// The rooms that the user calls direct ones.
    pub(super) direct: Arc<HashSet<RoomNid>>,
    pub(super) windows: Arc<Windows>,
}

/// All connections. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    connections: HashMap<Key, Connection>,
    /// Numbers requests and responses.
    count: u64,
    rooms: usize,
}

#[derive(Debug)]
struct Connection {
    /// The newest request; older ones that still wait come to nothing.
    turn: u64,
    /// When it was last used.
    used: u64,
    /// After the response that the newest one was asked with, if that came.
    before: Option<(String, Arc<Known>)>,
    /// After the newest response.
    newest: Option<(String, Arc<Known>)>,
}

impl Connection {
    fn weight(&self) -> usize {
        let states = [&self.before, &self.newest];
        let rooms = states
            .into_iter()
            .flatten()
            .map(|(_, known)| known.rooms.len() + known.facts.len());
        1 + rooms.sum::<usize>()
    }
}

/// A request that was let in.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) known: Arc<Known>,
    pos: Option<String>,
    number: u64,
}

impl Connections {
    /// Takes a request in: the first one of a connection, or one that goes on from a response. A client that did not get
    /// a response asks again with the `pos` before it.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPos`] where the response is not one of the last two.
    pub(super) fn begin(&self, key: &Key, pos: Option<&str>) -> Result<Turn> {
        let mut table = self.lock();
        table.count += 1;
        let number = table.count;
        let Some(pos) = pos else {
            table.forget(key);
            table.rooms += 1;
            table.connections.insert(
                key.clone(),
                Connection {
                    turn: number,
                    used: number,
                    before: None,
                    newest: None,
                },
            );
            table.make_room(key);
            return Ok(Turn {
                known: Arc::default(),
                pos: None,
                number,
            });
        };
        let connection = table.connections.get_mut(key).ok_or(Error::UnknownPos)?;
        let states = [&connection.newest, &connection.before];
        let known = states
            .into_iter()
            .flatten()
            .find(|(known, _)| known == pos)
            .map(|(_, known)| Arc::clone(known))
            .ok_or(Error::UnknownPos)?;
        connection.turn = number;
        connection.used = number;
        Ok(Turn {
            known,
            pos: Some(pos.to_owned()),
            number,
        })
    }

    /// Remembers what the response to a request tells the client, and names it.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPos`] where a newer request took the place of this one.
    pub(super) fn end(
        &self,
        key: &Key,
        turn: Turn,
        next: Known,
        started_ms: u64,
    ) -> Result<String> {
        let mut table = self.lock();
        table.count += 1;
        let number = table.count;
        let position = next.position.unwrap_or(Position::START);
        // The time tells the responses of one run of the server from those of another.
        let pos = format!("{position}.{started_ms}.{number}");
        let connection = table.connections.get_mut(key).ok_or(Error::UnknownPos)?;
        if connection.turn != turn.number {
            return Err(Error::UnknownPos);
        }
        let weight = connection.weight();
        connection.before = turn.pos.map(|pos| (pos, turn.known));
        connection.newest = Some((pos.clone(), Arc::new(next)));
        connection.used = number;
        let grown = connection.weight();
        table.rooms = table.rooms.saturating_sub(weight) + grown;
        table.make_room(key);
        Ok(pos)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget(&mut self, key: &Key) {
        if let Some(connection) = self.connections.remove(key) {
            self.rooms = self.rooms.saturating_sub(connection.weight());
        }
    }

    /// Forgets what was used longest ago until the limits are kept, but not the connection in use.
    fn make_room(&mut self, used: &Key) {
        let of_device = |key: &Key| key.user == used.user && key.device_id == used.device_id;
        while self.connections.keys().filter(|key| of_device(key)).count() > PER_DEVICE {
            self.forget_oldest(|key| key != used && of_device(key));
        }
        while self.rooms > ROOMS && self.connections.len() > 1 {
            self.forget_oldest(|key| key != used);
        }
    }

    fn forget_oldest(&mut self, among: impl Fn(&Key) -> bool) {
        let candidates = self.connections.iter().filter(|(key, _)| among(key));
        let oldest = candidates.min_by_key(|(_, connection)| connection.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.forget(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(conn_id: &str) -> Key {
        Key {
            user: UserNid(1),
            device_id: "DEVICE".into(),
            conn_id: Some(conn_id.to_owned()),
        }
    }

    fn answer(connections: &Connections, key: &Key, pos: Option<&str>) -> Result<String> {
        let turn = connections.begin(key, pos)?;
        connections.end(key, turn, Known::default(), 1)
    }

    #[test]
    fn a_lost_response_can_be_asked_for_again() {
        let connections = Connections::default();
        let key = key("a");
        let first = answer(&connections, &key, None).unwrap();
        let lost = answer(&connections, &key, Some(&first)).unwrap();
        let again = answer(&connections, &key, Some(&first)).unwrap();
        assert!(answer(&connections, &key, Some(&lost)).is_err());
        answer(&connections, &key, Some(&again)).unwrap();
        assert!(answer(&connections, &key, Some(&first)).is_err());
    }

    #[test]
    fn the_newer_of_two_requests_counts() {
        let connections = Connections::default();
        let key = key("a");
        let first = answer(&connections, &key, None).unwrap();
        let left = connections.begin(&key, Some(&first)).unwrap();
        let second = answer(&connections, &key, Some(&first)).unwrap();
        assert!(connections.end(&key, left, Known::default(), 1).is_err());
        answer(&connections, &key, Some(&second)).unwrap();
    }

    #[test]
    fn a_device_has_so_many_connections() {
        let connections = Connections::default();
        let all: Vec<_> = (0..=PER_DEVICE)
            .map(|number| {
                let key = key(&number.to_string());
                let pos = answer(&connections, &key, None).unwrap();
                (key, pos)
            })
            .collect();
        let (oldest, rest) = all.split_first().unwrap();
        assert!(answer(&connections, &oldest.0, Some(&oldest.1)).is_err());
        for (key, pos) in rest {
            answer(&connections, key, Some(pos)).unwrap();
        }
        let table = connections.lock();
        assert_eq!(table.rooms, PER_DEVICE);
    }
}
