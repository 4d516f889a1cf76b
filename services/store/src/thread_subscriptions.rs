//! Which threads users want to hear of.

use ruma::{EventId, OwnedEventId, OwnedRoomId};
use rusqlite::{Row, params};

use crate::{Error, Position, ReadTx, Result, RoomNid, Topic, UserNid, WriteTx};

/// What a user decided about a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSubscription {
    /// The thread's room.
    pub room_id: OwnedRoomId,
    /// The thread's root.
    pub root: OwnedEventId,
    /// Whether the user subscribes to it; otherwise they did.
    pub is_subscribed: bool,
    /// Whether a client subscribed for them.
    pub is_automatic: bool,
    /// The position of the decision.
    pub seq: Position,
}

/// Columns of [`ThreadSubscription`], in the order in which [`subscription`] reads them.
macro_rules! select_subscriptions {
    ($tail:literal) => {
        concat!(
            "SELECT r.room_id, t.root_id, t.is_subscribed, t.is_automatic, t.seq
             FROM thread_subscriptions t JOIN rooms r ON r.room_nid = t.room_nid ",
            $tail
        )
    };
}

impl ReadTx<'_> {
    /// What a user decided about a thread, if they ever did.
    pub fn thread_subscription(
        &self,
        user: UserNid,
        room: RoomNid,
        root: &EventId,
    ) -> Result<Option<ThreadSubscription>> {
        let sql =
            select_subscriptions!("WHERE t.user_nid = ?1 AND t.room_nid = ?2 AND t.root_id = ?3");
        let found = self.optional(sql, params![user, room, root.as_str()], subscription)?;
        found.map(parsed).transpose()
    }

    /// A user's decisions in (`after`, `until`], newest first.
    pub fn thread_subscriptions(
        &self,
        user: UserNid,
        after: Position,
        until: Position,
        limit: u32,
    ) -> Result<Vec<ThreadSubscription>> {
        let sql = select_subscriptions!(
            "WHERE t.user_nid = ?1 AND t.seq > ?2 AND t.seq <= ?3 ORDER BY t.seq DESC LIMIT ?4"
        );
        let found = self.all(sql, params![user, after, until, limit], subscription)?;
        found.into_iter().map(parsed).collect()
    }

    /// How many threads a user ever decided about.
    pub fn thread_subscription_count(&self, user: UserNid) -> Result<u64> {
        let sql = "SELECT count(*) FROM thread_subscriptions WHERE user_nid = ?1";
        self.one(sql, [user], |row| row.get(0))
    }

    /// Whether an event of a room is a reply in a thread.
    pub fn is_in_thread(&self, room: RoomNid, root: &EventId, event_id: &EventId) -> Result<bool> {
        let sql = "SELECT 1 FROM events e JOIN event_relations r ON r.room_nid = e.room_nid AND r.pos = e.pos
                   WHERE e.room_nid = ?1 AND e.event_id = ?3 AND r.parent_id = ?2 AND r.rel_type = 'm.thread'";
        let found = self.optional(sql, params![room, root.as_str(), event_id.as_str()], |_| {
            Ok(())
        })?;
        Ok(found.is_some())
    }
}

impl WriteTx<'_> {
    /// Keeps what a user decided about a thread, and wakes them.
    pub fn set_thread_subscription(
        &mut self,
        user: UserNid,
        room: RoomNid,
        root: &EventId,
        is_subscribed: bool,
        is_automatic: bool,
    ) -> Result<()> {
        let seq = self.next_position();
        self.execute(
            "INSERT INTO thread_subscriptions (user_nid, room_nid, root_id, is_subscribed, is_automatic, seq)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (user_nid, room_nid, root_id) DO UPDATE SET
               is_subscribed = excluded.is_subscribed, is_automatic = excluded.is_automatic, seq = excluded.seq",
            params![user, room, root.as_str(), is_subscribed, is_automatic, seq],
        )?;
        self.announce(Topic::User(user));
        Ok(())
    }
}

type RawSubscription = (String, String, bool, bool, Position);

fn subscription(row: &Row<'_>) -> rusqlite::Result<RawSubscription> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
    ))
}

fn parsed(
    (room_id, root, is_subscribed, is_automatic, seq): RawSubscription,
) -> Result<ThreadSubscription> {
    let room_id = room_id.try_into();
    let root = root.try_into();
    Ok(ThreadSubscription {
        room_id: room_id.map_err(|error| Error::invalid("room id", error))?,
        root: root.map_err(|error| Error::invalid("event id", error))?,
        is_subscribed,
        is_automatic,
        seq,
    })
}
