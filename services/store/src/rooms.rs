//! Rooms, their events, and their state.

mod aliases;
mod auth_chain;
mod by_time;
mod chains;
mod client_transactions;
mod delayed_events;
mod event_insert;
mod events;
mod extremities;
mod members;
mod mutual_rooms;
mod outgoing;
mod outliers;
mod partial;
mod partial_events;
mod redactions;
mod room_servers;
mod search;
mod server_members;
mod state;
mod stripped_state;
#[cfg(test)]
pub(crate) mod test_room;
mod timeline;

use ruma::{OwnedRoomId, RoomId, RoomVersionId};
use rusqlite::{Row, params, types::Type};

use crate::{ChainNid, Position, ReadTx, Result, RoomNid, ServerNid, WriteTx};

pub use self::{
    auth_chain::AUTH_CHAIN_LIMIT,
    by_time::TimedEvent,
    delayed_events::{DelayEnd, DelayOutcome, DelayedEvent, NewDelayedEvent},
    event_insert::{Inserted, NewEvent, Visibility},
    events::{Event, EventStatus},
    extremities::Tip,
    members::Member,
    partial::{NewPartialRoom, PartialRoom, PartialRooms},
    partial_events::{Rejudged, Replayed},
    redactions::Redaction,
    search::{SearchBacklog, SearchEntry, SearchHit},
    state::{CurrentEntry, StateChange, StateEntry},
};

/// A room this server has heard of.
#[derive(Clone, Debug)]
pub struct Room {
    /// Its integer id.
    pub nid: RoomNid,
    /// Its Matrix id.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersionId,
    /// Its current state; `None` until this server has held it.
    pub current: Option<Coordinate>,
    /// How many timeline events so far count as unread for those who have not seen them.
    pub notify_count: i64,
    /// While members are missing from its state: the position of the join since which they are.
    pub partial_from: Option<Position>,
    /// The position at which its state became complete; `None` where it never was anything else.
    pub complete_from: Option<Position>,
}

impl Room {
    /// Whether members are missing from its state.
    pub fn is_partial(&self) -> bool {
        self.partial_from.is_some()
    }
}

/// One state of one room, for good: what is added to a chain later has a larger `ord`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Coordinate {
    /// The chain of changes.
    pub chain: ChainNid,
    /// The last change that counts.
    pub ord: i64,
}

impl Coordinate {
    /// From two columns that are NULL together.
    pub(crate) fn from_columns(
        row: &Row<'_>,
        chain: &str,
        ord: &str,
    ) -> rusqlite::Result<Option<Self>> {
        let chain: Option<ChainNid> = row.get(chain)?;
        let ord: Option<i64> = row.get(ord)?;
        Ok(chain.zip(ord).map(|(chain, ord)| Self { chain, ord }))
    }
}

macro_rules! select_room {
    ($tail:literal) => {
        concat!(
            "SELECT r.room_nid, r.room_id, r.version, r.main_chain_nid, r.notify_count, r.partial_from, \
             r.complete_from, c.head_ord ",
            "FROM rooms r LEFT JOIN chains c ON c.chain_nid = r.main_chain_nid ",
            $tail
        )
    };
}

impl ReadTx<'_> {
    /// The room with a Matrix id.
    pub fn room_by_id(&self, room_id: &RoomId) -> Result<Option<Room>> {
        let sql = select_room!("WHERE r.room_id = ?1");
        self.optional(sql, [room_id.as_str()], read_room)
    }

    /// The room behind an integer id.
    pub fn room(&self, room: RoomNid) -> Result<Room> {
        let sql = select_room!("WHERE r.room_nid = ?1");
        self.one(sql, [room], read_room)
    }

    /// The Matrix id of a room.
    pub fn room_id(&self, room: RoomNid) -> Result<OwnedRoomId> {
        let sql = "SELECT room_id FROM rooms WHERE room_nid = ?1";
        self.one(sql, [room], |row| parsed(row, "room_id"))
    }

    /// Whether a user of this server is joined, so that this server follows the room.
    pub fn is_resident(&self, room: RoomNid) -> Result<bool> {
        self.is_server_in_room(ServerNid::OWN, room)
    }
}

impl WriteTx<'_> {
    /// Notes a room this server had not heard of.
    pub fn insert_room(&mut self, room_id: &RoomId, version: &RoomVersionId) -> Result<RoomNid> {
        let sql = "INSERT INTO rooms (room_id, version) VALUES (?1, ?2) RETURNING room_nid";
        self.one(sql, params![room_id.as_str(), version.as_str()], |row| {
            row.get(0)
        })
    }

    /// The room with a Matrix id, noted where it is new. The version of one that is known does not change.
    pub fn room_or_insert(&mut self, room_id: &RoomId, version: &RoomVersionId) -> Result<Room> {
        if let Some(room) = self.room_by_id(room_id)? {
            return Ok(room);
        }
        let nid = self.insert_room(room_id, version)?;
        self.room(nid)
    }
}

fn read_room(row: &Row<'_>) -> rusqlite::Result<Room> {
    Ok(Room {
        nid: row.get("room_nid")?,
        room_id: parsed(row, "room_id")?,
        version: parsed(row, "version")?,
        current: Coordinate::from_columns(row, "main_chain_nid", "head_ord")?,
        notify_count: row.get("notify_count")?,
        partial_from: row.get("partial_from")?,
        complete_from: row.get("complete_from")?,
    })
}

/// A text column that holds a Matrix identifier or the like.
fn parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: for<'a> TryFrom<&'a str, Error: std::error::Error + Send + Sync + 'static>,
{
    let index = row.as_ref().column_index(column)?;
    let text = row.get_ref(index)?.as_str()?;
    T::try_from(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, error.into()))
}
