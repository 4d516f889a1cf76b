//! Reading events. Whatever serves another server looks up by room and event id.

use ruma::{EventId, OwnedEventId};
use rusqlite::{
    Row, params,
    types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef},
};

use super::parsed;
use crate::{Coordinate, EventNid, Pdu, Position, ReadTx, Result, RoomNid, StateKeyNid, UserNid};

/// What the checks on receipt said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventStatus {
    /// Passed.
    Accepted,
    /// Valid where it stands in the graph, but against the current state: clients never see it.
    SoftFailed,
    /// Against the rules.
    Rejected,
}

/// A stored event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its integer id.
    pub nid: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// Its Matrix id.
    pub event_id: OwnedEventId,
    /// When this server stored it.
    pub seq: Position,
    /// Its place in the room's timeline, if it has one; negative for a backfilled event.
    pub pos: Option<i64>,
    /// Its sender.
    pub sender: UserNid,
    /// Its type and state key, if it is a state event.
    pub state_key: Option<StateKeyNid>,
    /// What the checks on receipt said.
    pub status: EventStatus,
    /// The state before it; `None` for an outlier.
    pub before: Option<Coordinate>,
    /// The state after it; `None` for an outlier.
    pub after: Option<Coordinate>,
    /// [`Room::notify_count`](crate::Room::notify_count) as it stood with this event.
    pub notify_ord: i64,
    /// The redaction that took its content away.
    pub redacted_by: Option<EventNid>,
    /// Canonical JSON, without event id and `unsigned`.
    pub json: String,
}

impl Event {
    /// The event's fields.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) where the stored JSON is damaged.
    pub fn pdu(&self) -> Result<Pdu> {
        Pdu::parse(self.event_id.clone(), self.json.clone(), self.status)
    }

    /// The same, without a copy.
    pub fn into_pdu(self) -> Result<Pdu> {
        Pdu::parse(self.event_id, self.json, self.status)
    }

    /// Whether it has no place in the event graph: kept for auth chains alone.
    pub fn is_outlier(&self) -> bool {
        self.before.is_none()
    }
}

macro_rules! select_event {
    ($tail:literal) => {
        concat!(
            "SELECT e.event_nid, e.room_nid, e.event_id, e.seq, e.pos, e.sender_nid, e.state_key_nid, e.status, ",
            "e.before_chain_nid, e.before_ord, e.after_chain_nid, e.after_ord, e.notify_ord, e.redacted_by, j.json ",
            "FROM events e JOIN event_json j ON j.event_nid = e.event_nid ",
            $tail
        )
    };
}
pub(super) use select_event;

impl ReadTx<'_> {
    /// An event of a room, whatever its status.
    pub fn event(&self, room: RoomNid, event_id: &EventId) -> Result<Option<Event>> {
        let sql = select_event!("WHERE e.room_nid = ?1 AND e.event_id = ?2");
        self.optional(sql, params![room, event_id.as_str()], read_event)
    }

    /// The event behind an integer id.
    pub fn event_by_nid(&self, event: EventNid) -> Result<Event> {
        let sql = select_event!("WHERE e.event_nid = ?1");
        self.one(sql, [event], read_event)
    }

    /// The integer id of an event of a room, whatever its status.
    pub fn event_nid(&self, room: RoomNid, event_id: &EventId) -> Result<Option<EventNid>> {
        let sql = "SELECT event_nid FROM events WHERE room_nid = ?1 AND event_id = ?2";
        self.optional(sql, params![room, event_id.as_str()], |row| row.get(0))
    }

    /// The Matrix id of an event.
    pub fn event_id(&self, event: EventNid) -> Result<OwnedEventId> {
        let sql = "SELECT event_id FROM events WHERE event_nid = ?1";
        self.one(sql, [event], |row| parsed(row, "event_id"))
    }

    /// The parsed event of a room.
    pub fn pdu(&self, room: RoomNid, event_id: &EventId) -> Result<Option<Pdu>> {
        self.event(room, event_id)?.map(Event::into_pdu).transpose()
    }

    /// The state coordinates after an event, `None` for an outlier or an event that is not known.
    pub fn state_after(&self, room: RoomNid, event_id: &EventId) -> Result<Option<Coordinate>> {
        let sql =
            "SELECT after_chain_nid, after_ord FROM events WHERE room_nid = ?1 AND event_id = ?2";
        let found = self.optional(sql, params![room, event_id.as_str()], |row| {
            Coordinate::from_columns(row, "after_chain_nid", "after_ord")
        })?;
        Ok(found.flatten())
    }
}

pub(super) fn read_event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        nid: row.get("event_nid")?,
        room: row.get("room_nid")?,
        event_id: parsed(row, "event_id")?,
        seq: row.get("seq")?,
        pos: row.get("pos")?,
        sender: row.get("sender_nid")?,
        state_key: row.get("state_key_nid")?,
        status: row.get("status")?,
        before: Coordinate::from_columns(row, "before_chain_nid", "before_ord")?,
        after: Coordinate::from_columns(row, "after_chain_nid", "after_ord")?,
        notify_ord: row.get("notify_ord")?,
        redacted_by: row.get("redacted_by")?,
        json: row.get("json")?,
    })
}

impl ToSql for EventStatus {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(match self {
            Self::Accepted => 0_i64,
            Self::SoftFailed => 1,
            Self::Rejected => 2,
        }))
    }
}

impl FromSql for EventStatus {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            0 => Ok(Self::Accepted),
            1 => Ok(Self::SoftFailed),
            2 => Ok(Self::Rejected),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}
