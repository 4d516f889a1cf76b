//! Up to where local users have read their rooms, and the threads in them.

use std::collections::HashMap;

use ruma::{EventId, events::receipt::ReceiptThread};
use rusqlite::params;

use crate::{ReadTx, Result, RoomNid, Topic, UserNid, WriteTx};

/// Up to where a local user has read a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadState {
    /// Where the user joined: what came before is none of their notifications.
    pub joined: i64,
    /// Up to here, what is outside of threads is read.
    pub main: i64,
    /// Up to here, everything is read, in threads too. Never beyond `main`.
    pub all: i64,
    /// Up to where single threads are read, by the event ids of their roots.
    pub threads: HashMap<String, i64>,
    /// `events.notify_ord` at `main`.
    pub(crate) notify_ord: i64,
    /// `rooms.notify_count` now.
    pub(crate) notify_count: i64,
    /// Whether events before `main` may be unread, or something after `all` is a highlight.
    pub(crate) may_differ: bool,
}

impl ReadState {
    /// Whether an event is read, by its place and its thread.
    pub fn is_read(&self, pos: i64, thread: Option<&str>) -> bool {
        let until = match thread {
            None => self.main,
            Some(root) => self
                .threads
                .get(root)
                .map_or(self.all, |read| (*read).max(self.all)),
        };
        pos <= until
    }
}

/// An event in a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadEvent {
    /// Its place in the timeline.
    pub pos: i64,
    /// The event id of the thread's root.
    pub root: String,
    /// Whether it counts as unread for those who have not seen it.
    pub notifies: bool,
}

/// At most this many unread events in threads of one room are told apart, the newest: a client shows "99+" long before.
const THREAD_EVENTS: u32 = 2_000;

impl ReadTx<'_> {
    /// Up to where a local user has read a room that they are joined to.
    pub fn read_state(&self, user: UserNid, room: RoomNid) -> Result<Option<ReadState>> {
        let sql = "SELECT p.joined_pos, p.pos, p.all_pos, p.notify_ord, r.notify_count,
                     p.all_pos < p.pos OR EXISTS (
                       SELECT 1 FROM highlights h
                       WHERE h.user_nid = ?1 AND h.room_nid = ?2 AND h.pos > p.all_pos)
                   FROM read_positions p JOIN rooms r ON r.room_nid = p.room_nid
                   WHERE p.user_nid = ?1 AND p.room_nid = ?2";
        self.optional(sql, params![user, room], |row| {
            Ok(ReadState {
                joined: row.get(0)?,
                main: row.get(1)?,
                all: row.get(2)?,
                threads: HashMap::new(),
                notify_ord: row.get(3)?,
                notify_count: row.get(4)?,
                may_differ: row.get(5)?,
            })
        })
    }

    /// Adds up to where threads are read: only where there are unread ones does it matter.
    pub fn read_threads(&self, user: UserNid, room: RoomNid, state: &mut ReadState) -> Result<()> {
        let sql = "SELECT thread_id, pos FROM thread_reads WHERE user_nid = ?1 AND room_nid = ?2 AND pos > ?3";
        let params = params![user, room, state.all];
        let read = self.all(sql, params, |row| Ok((row.get(0)?, row.get(1)?)))?;
        state.threads = read.into_iter().collect();
        Ok(())
    }

    /// The thread that the event at a place of a room's timeline is in.
    pub fn thread_at(&self, room: RoomNid, pos: i64) -> Result<Option<String>> {
        let sql = "SELECT thread_id FROM event_relations
                   WHERE room_nid = ?1 AND pos = ?2 AND thread_id IS NOT NULL LIMIT 1";
        self.optional(sql, params![room, pos], |row| row.get(0))
    }

    /// The events in threads of a room after a place, newest first.
    pub fn thread_events(&self, room: RoomNid, after: i64) -> Result<Vec<ThreadEvent>> {
        let sql = "SELECT pos, thread_id, notifies FROM event_relations
                   WHERE room_nid = ?1 AND pos > ?2 AND thread_id IS NOT NULL
                   ORDER BY pos DESC LIMIT ?3";
        self.all(sql, params![room, after, THREAD_EVENTS], |row| {
            Ok(ThreadEvent {
                pos: row.get(0)?,
                root: row.get(1)?,
                notifies: row.get(2)?,
            })
        })
    }
}

impl WriteTx<'_> {
    /// Notes that a local user has read a room, or a thread of it, up to the event at `pos`, and says whether that is news.
    /// Wakes the user.
    pub fn set_read_position(
        &mut self,
        user: UserNid,
        room: RoomNid,
        thread: &ReceiptThread,
        pos: i64,
    ) -> Result<bool> {
        let sql = "SELECT notify_ord FROM events WHERE room_nid = ?1 AND pos = ?2";
        let Some(notify_ord) = self.optional(sql, params![room, pos], |row| row.get(0))? else {
            return Ok(false);
        };
        let moved = match thread {
            ReceiptThread::Thread(root) => self.read_thread(user, room, root, pos)?,
            ReceiptThread::Main => self.read_main(user, room, pos, notify_ord)?,
            _ => {
                let main = self.read_main(user, room, pos, notify_ord)?;
                self.read_all(user, room, pos)? | main
            }
        };
        if moved {
            self.settle_threads(user, room)?;
            let seq = self.next_position();
            let sql = "UPDATE read_positions SET seq = ?3 WHERE user_nid = ?1 AND room_nid = ?2";
            self.execute(sql, params![user, room, seq])?;
            self.announce(Topic::User(user));
        }
        Ok(moved)
    }

    /// Moves the position outside of threads forward; never back.
    pub(crate) fn read_main(
        &mut self,
        user: UserNid,
        room: RoomNid,
        pos: i64,
        notify_ord: i64,
    ) -> Result<bool> {
        let changed = self.execute(
            "INSERT INTO read_positions (user_nid, room_nid, joined_pos, pos, all_pos, notify_ord, seq)
             VALUES (?1, ?2, ?3, ?3, ?3, ?4, ?3)
             ON CONFLICT (user_nid, room_nid)
             DO UPDATE SET pos = excluded.pos, notify_ord = excluded.notify_ord, seq = excluded.seq
             WHERE excluded.pos > read_positions.pos",
            params![user, room, pos, notify_ord],
        )?;
        Ok(changed > 0)
    }

    /// The same in one thread.
    pub(crate) fn read_thread(
        &mut self,
        user: UserNid,
        room: RoomNid,
        root: &EventId,
        pos: i64,
    ) -> Result<bool> {
        let changed = self.execute(
            "INSERT INTO thread_reads (user_nid, room_nid, thread_id, pos)
             SELECT user_nid, room_nid, ?3, ?4 FROM read_positions
             WHERE user_nid = ?1 AND room_nid = ?2 AND all_pos < ?4
             ON CONFLICT (user_nid, room_nid, thread_id)
             DO UPDATE SET pos = excluded.pos WHERE excluded.pos > thread_reads.pos",
            params![user, room, root.as_str(), pos],
        )?;
        Ok(changed > 0)
    }

    /// The same for everything.
    fn read_all(&mut self, user: UserNid, room: RoomNid, pos: i64) -> Result<bool> {
        let sql = "UPDATE read_positions SET all_pos = ?3
                   WHERE user_nid = ?1 AND room_nid = ?2 AND all_pos < ?3";
        Ok(self.execute(sql, params![user, room, pos])? > 0)
    }

    /// Where nothing in a thread is left unread, everything up to a place is read. It keeps short what has to be looked
    /// through to count.
    fn settle_threads(&mut self, user: UserNid, room: RoomNid) -> Result<()> {
        let Some(mut state) = self.read_state(user, room)? else {
            return Ok(());
        };
        if state.all < state.main {
            self.read_threads(user, room, &mut state)?;
            let events = self.thread_events(room, state.all)?;
            let unread = events
                .iter()
                .filter(|event| event.pos <= state.main)
                .rfind(|event| !state.is_read(event.pos, Some(&event.root)));
            let all = unread.map_or(state.main, |oldest| oldest.pos - 1);
            self.read_all(user, room, all)?;
            state.all = state.all.max(all);
        }
        for sql in [
            "DELETE FROM highlights WHERE user_nid = ?1 AND room_nid = ?2 AND pos <= ?3",
            "DELETE FROM thread_reads WHERE user_nid = ?1 AND room_nid = ?2 AND pos <= ?3",
        ] {
            self.execute(sql, params![user, room, state.all])?;
        }
        Ok(())
    }

    /// Starts counting at a user's join. `false` where the user was joined before.
    pub(crate) fn start_reading(
        &mut self,
        user: UserNid,
        room: RoomNid,
        pos: i64,
        notify_ord: i64,
    ) -> Result<bool> {
        let inserted = self.execute(
            "INSERT INTO read_positions (user_nid, room_nid, joined_pos, pos, all_pos, notify_ord, seq)
             VALUES (?1, ?2, ?3, ?3, ?3, ?4, ?3) ON CONFLICT DO NOTHING",
            params![user, room, pos, notify_ord],
        )?;
        Ok(inserted > 0)
    }

    /// Stops counting: the user is no longer in the room.
    pub(crate) fn stop_reading(&mut self, user: UserNid, room: RoomNid) -> Result<()> {
        for sql in [
            "DELETE FROM read_positions WHERE user_nid = ?1 AND room_nid = ?2",
            "DELETE FROM thread_reads WHERE user_nid = ?1 AND room_nid = ?2",
            "DELETE FROM highlights WHERE user_nid = ?1 AND room_nid = ?2",
        ] {
            self.execute(sql, params![user, room])?;
        }
        Ok(())
    }
}
