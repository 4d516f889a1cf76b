//! What users have not read, for those who have the rules that users have unless they change them: the difference of a
//! running number per room, put right by the few rows that say where a user or an event is an exception.

use std::collections::{BTreeMap, HashMap};

use rusqlite::params;

use crate::{ReadState, ReadTx, Result, RoomNid, UserNid};

/// What a user has not read of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Outside of threads.
    pub main: UnreadCount,
    /// In threads, by the event id of the thread's root.
    pub threads: BTreeMap<String, UnreadCount>,
}

/// How much is unread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnreadCount {
    /// Events worth a notification.
    pub notifications: u64,
    /// Those of them that mention the user.
    pub highlights: u64,
}

impl Unread {
    /// The count that an event of a thread, or of none, belongs to.
    pub fn of(&mut self, thread: Option<&str>) -> &mut UnreadCount {
        match thread {
            None => &mut self.main,
            Some(root) => self.threads.entry(root.to_owned()).or_default(),
        }
    }

    /// In threads and outside of them.
    pub fn total(&self) -> UnreadCount {
        let counts = self.threads.values().chain([&self.main]);
        counts.fold(UnreadCount::default(), |sum, count| UnreadCount {
            notifications: sum.notifications + count.notifications,
            highlights: sum.highlights + count.highlights,
        })
    }
}

/// At most this many highlights are told apart: a client shows "99+" long before.
const HIGHLIGHTS: u32 = 1_000;

impl ReadTx<'_> {
    /// What a user with the default rules has not read of a room.
    pub fn unread(&self, user: UserNid, room: RoomNid) -> Result<Unread> {
        let mut unread = Unread::default();
        let Some(mut state) = self.read_state(user, room)? else {
            return Ok(unread);
        };
        let main = state.notify_count - state.notify_ord;
        if main == 0 && !state.may_differ {
            return Ok(unread);
        }
        let threads = self.unread_threads(user, room, &mut state)?;
        let redacted = self.redacted_after(room, state.main)?;
        let in_threads = threads
            .iter()
            .filter(|(pos, event)| **pos > state.main && event.notifies)
            .count();
        let elsewhere = redacted + i64::try_from(in_threads).unwrap_or(i64::MAX);
        unread.main.notifications = u64::try_from(main - elsewhere).unwrap_or(0);
        for (pos, event) in &threads {
            if event.notifies && !state.is_read(*pos, Some(&event.root)) {
                unread.of(Some(&event.root)).notifications += 1;
            }
        }
        for (pos, is_extra) in self.highlights_after(user, room, state.all)? {
            let thread = threads.get(&pos).map(|event| event.root.as_str());
            if !state.is_read(pos, thread) {
                let count = unread.of(thread);
                count.highlights += 1;
                count.notifications += u64::from(is_extra);
            }
        }
        Ok(unread)
    }

    /// What a user has not read of a room who is notified of highlights alone.
    pub fn unread_highlights(&self, user: UserNid, room: RoomNid) -> Result<Unread> {
        let mut unread = Unread::default();
        let Some(mut state) = self.read_state(user, room)? else {
            return Ok(unread);
        };
        let highlights = self.highlights_after(user, room, state.all)?;
        if highlights.is_empty() {
            return Ok(unread);
        }
        let threads = self.unread_threads(user, room, &mut state)?;
        for pos in highlights.into_keys() {
            let thread = threads.get(&pos).map(|event| event.root.as_str());
            if !state.is_read(pos, thread) {
                let count = unread.of(thread);
                count.highlights += 1;
                count.notifications += 1;
            }
        }
        Ok(unread)
    }

    /// The events in threads that may be unread, by their places; fills in up to where threads are read.
    fn unread_threads(
        &self,
        user: UserNid,
        room: RoomNid,
        state: &mut ReadState,
    ) -> Result<HashMap<i64, crate::ThreadEvent>> {
        let events = self.thread_events(room, state.all)?;
        if !events.is_empty() {
            self.read_threads(user, room, state)?;
        }
        Ok(events.into_iter().map(|event| (event.pos, event)).collect())
    }

    /// Places of highlights, each with whether it counts for the user alone.
    fn highlights_after(
        &self,
        user: UserNid,
        room: RoomNid,
        pos: i64,
    ) -> Result<HashMap<i64, bool>> {
        let sql = "SELECT pos, is_extra FROM highlights WHERE user_nid = ?1 AND room_nid = ?2 AND pos > ?3
                   UNION
                   SELECT pos, 0 FROM room_highlights WHERE room_nid = ?2 AND pos > ?3
                   LIMIT ?4";
        let params = params![user, room, pos, HIGHLIGHTS];
        let found = self.all(sql, params, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.into_iter().collect())
    }

    fn redacted_after(&self, room: RoomNid, pos: i64) -> Result<i64> {
        let sql = "SELECT count(*) FROM redacted_notifications WHERE room_nid = ?1 AND pos > ?2";
        self.one(sql, params![room, pos], |row| row.get(0))
    }
}

/// Counts what users have not read, by whatever rules they have.
pub trait CountUnread: Send + Sync + std::fmt::Debug {
    /// What a local user has not read of a room that they are joined to.
    ///
    /// # Errors
    ///
    /// When the store fails.
    fn unread(&self, tx: &ReadTx<'_>, user: UserNid, room: RoomNid) -> Result<Unread>;
}

/// Counts for users who all have the default rules.
#[derive(Clone, Copy, Debug)]
pub struct DefaultRules;

impl CountUnread for DefaultRules {
    fn unread(&self, tx: &ReadTx<'_>, user: UserNid, room: RoomNid) -> Result<Unread> {
        tx.unread(user, room)
    }
}
