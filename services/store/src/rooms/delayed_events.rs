//! Events that users asked to be sent later.

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use rusqlite::{Row, params};

use super::parsed;
use crate::{Position, ReadTx, Result, RoomNid, UserNid, WriteTx};

/// An event that a user asked to be sent later.
#[derive(Clone, Debug)]
pub struct DelayedEvent {
    /// What names it.
    pub delay_id: String,
    /// Who asked for it.
    pub user_id: OwnedUserId,
    /// Into which room.
    pub room_id: OwnedRoomId,
    /// Its type.
    pub event_type: String,
    /// Its state key, if it is a state event.
    pub state_key: Option<String>,
    /// Its content: a JSON object.
    pub content: String,
    /// How long it waits, in milliseconds.
    pub delay_ms: u64,
    /// When it is sent, in milliseconds since the Unix epoch.
    pub due_ms: u64,
    /// The global position when it was asked for.
    pub seq: Position,
    /// When it ended, and how; `None` while it waits.
    pub end: Option<DelayEnd>,
}

/// How a delayed event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayEnd {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What became of it.
    pub outcome: DelayOutcome,
}

/// What became of a delayed event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DelayOutcome {
    /// It was sent.
    Sent(OwnedEventId),
    /// It could not be sent.
    Failed(String),
    /// It was taken back, or others have set the state meanwhile.
    Cancelled,
}

/// A wish to send an event later.
#[derive(Clone, Debug)]
pub struct NewDelayedEvent<'a> {
    /// What is to name it.
    pub delay_id: &'a str,
    /// Who wishes so.
    pub user: UserNid,
    /// Into which room.
    pub room: RoomNid,
    /// Its type.
    pub event_type: &'a str,
    /// Its state key, if it is a state event.
    pub state_key: Option<&'a str>,
    /// Its content: a JSON object.
    pub content: &'a str,
    /// How long it waits, in milliseconds.
    pub delay_ms: u64,
    /// The device, and what makes a second request the same as the first.
    pub device_id: &'a str,
    /// `None`: every request is another.
    pub txn_id: Option<&'a str>,
}

macro_rules! select_delayed {
    ($tail:literal) => {
        concat!(
            "SELECT d.delay_id, u.user_id, r.room_id, d.event_type, d.state_key, d.content, d.delay_ms, d.due_ms, ",
            "d.seq, d.finalised_ms, d.event_id, d.error FROM delayed_events d ",
            "JOIN users u ON u.user_nid = d.user_nid JOIN rooms r ON r.room_nid = d.room_nid ",
            $tail
        )
    };
}

impl ReadTx<'_> {
    /// A delayed event by its name.
    pub fn delayed_event(&self, delay_id: &str) -> Result<Option<DelayedEvent>> {
        let sql = select_delayed!("WHERE d.delay_id = ?1");
        self.optional(sql, [delay_id], read_delayed)
    }

    /// The delayed events of a user that still wait, those first that are due first, at most `limit`.
    pub fn delayed_events(&self, user: UserNid, limit: u32) -> Result<Vec<DelayedEvent>> {
        let sql = select_delayed!(
            "WHERE d.user_nid = ?1 AND d.finalised_ms IS NULL ORDER BY d.due_ms LIMIT ?2"
        );
        self.all(sql, params![user, limit], read_delayed)
    }

    /// How many delayed events of a user still wait.
    pub fn count_delayed_events(&self, user: UserNid) -> Result<usize> {
        let sql =
            "SELECT count(*) FROM delayed_events WHERE user_nid = ?1 AND finalised_ms IS NULL";
        self.one(sql, [user], |row| row.get(0))
    }

    /// The delayed event that a request made when it came first.
    pub fn delayed_event_of_transaction(
        &self,
        user: UserNid,
        device_id: &str,
        room: RoomNid,
        txn_id: &str,
    ) -> Result<Option<String>> {
        let sql = "SELECT delay_id FROM delayed_events \
                   WHERE user_nid = ?1 AND device_id = ?2 AND room_nid = ?3 AND txn_id = ?4";
        self.optional(sql, params![user, device_id, room, txn_id], |row| {
            row.get(0)
        })
    }

    /// The delayed events that are due at a time, at most `limit`.
    pub fn due_delayed_events(&self, now_ms: u64, limit: u32) -> Result<Vec<String>> {
        let sql = "SELECT delay_id FROM delayed_events WHERE finalised_ms IS NULL AND due_ms <= ?1 \
                   ORDER BY due_ms LIMIT ?2";
        self.all(sql, params![now_ms, limit], |row| row.get(0))
    }

    /// When the next delayed event is due, in milliseconds since the Unix epoch.
    pub fn next_delayed_event(&self) -> Result<Option<u64>> {
        let sql = "SELECT min(due_ms) FROM delayed_events WHERE finalised_ms IS NULL";
        self.one(sql, [], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Notes an event to be sent later, counted from now.
    pub fn insert_delayed_event(&mut self, event: &NewDelayedEvent<'_>) -> Result<()> {
        let sql = "INSERT INTO delayed_events (delay_id, user_nid, room_nid, event_type, state_key, content, delay_ms, \
                   due_ms, seq, device_id, txn_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let params = params![
            event.delay_id,
            event.user,
            event.room,
            event.event_type,
            event.state_key,
            event.content,
            event.delay_ms,
            self.now_ms().saturating_add(event.delay_ms),
            self.next_position(),
            event.device_id,
            event.txn_id,
        ];
        self.execute(sql, params)?;
        Ok(())
    }

    /// Lets a delayed event that still waits wait its whole delay again; whether there is such a one.
    pub fn restart_delayed_event(&mut self, delay_id: &str) -> Result<bool> {
        let sql = "UPDATE delayed_events SET due_ms = ?2 + delay_ms WHERE delay_id = ?1 AND finalised_ms IS NULL";
        Ok(self.execute(sql, params![delay_id, self.now_ms()])? > 0)
    }

    /// Says how a delayed event that still waits ended; whether there is such a one.
    pub fn end_delayed_event(&mut self, delay_id: &str, outcome: &DelayOutcome) -> Result<bool> {
        let sql = "UPDATE delayed_events SET finalised_ms = ?2, event_id = ?3, error = ?4 \
                   WHERE delay_id = ?1 AND finalised_ms IS NULL";
        let (event_id, error) = match outcome {
            DelayOutcome::Sent(event_id) => (Some(event_id.as_str()), None),
            DelayOutcome::Failed(error) => (None, Some(error.as_str())),
            DelayOutcome::Cancelled => (None, None),
        };
        let changed = self.execute(sql, params![delay_id, self.now_ms(), event_id, error])?;
        Ok(changed > 0)
    }

    /// Forgets at most `limit` delayed events that ended before a time in milliseconds since the Unix epoch.
    pub fn delete_delayed_events_before(&mut self, ms: u64, limit: u32) -> Result<usize> {
        let sql = "DELETE FROM delayed_events WHERE delay_id IN (SELECT delay_id FROM delayed_events \
                   WHERE finalised_ms < ?1 ORDER BY finalised_ms LIMIT ?2)";
        self.execute(sql, params![ms, limit])
    }
}

fn read_delayed(row: &Row<'_>) -> rusqlite::Result<DelayedEvent> {
    let event_id: Option<String> = row.get("event_id")?;
    let end = match row.get::<_, Option<u64>>("finalised_ms")? {
        None => None,
        Some(at_ms) => Some(DelayEnd {
            at_ms,
            outcome: match (event_id, row.get::<_, Option<String>>("error")?) {
                (Some(_), _) => DelayOutcome::Sent(parsed(row, "event_id")?),
                (None, Some(error)) => DelayOutcome::Failed(error),
                (None, None) => DelayOutcome::Cancelled,
            },
        }),
    };
    Ok(DelayedEvent {
        delay_id: row.get("delay_id")?,
        user_id: parsed(row, "user_id")?,
        room_id: parsed(row, "room_id")?,
        event_type: row.get("event_type")?,
        state_key: row.get("state_key")?,
        content: row.get("content")?,
        delay_ms: row.get("delay_ms")?,
        due_ms: row.get("due_ms")?,
        seq: row.get("seq")?,
        end,
    })
}
