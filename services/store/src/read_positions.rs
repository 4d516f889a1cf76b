//! Up to where local users have read their rooms, and how much is left.

use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::params;

use crate::{Position, ReadTx, Result, RoomNid, Topic, UserNid, WriteTx};

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

/// At most this many highlights, and as many replies in threads, are told apart: a client shows "99+" long before.
const COUNTED: u32 = 1_000;

impl ReadTx<'_> {
    /// What a user has not read of a room.
    pub fn unread(&self, user: UserNid, room: RoomNid) -> Result<Unread> {
        let sql = "SELECT p.pos, r.notify_count - p.notify_ord
                   FROM read_positions p JOIN rooms r ON r.room_nid = p.room_nid
                   WHERE p.user_nid = ?1 AND p.room_nid = ?2";
        let read: Option<(i64, i64)> = self.optional(sql, params![user, room], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let mut unread = Unread::default();
        let Some((pos, notifications)) = read else {
            return Ok(unread);
        };
        unread.main.notifications = u64::try_from(notifications).unwrap_or(0);
        if unread.main.notifications == 0 {
            return Ok(unread);
        }
        let highlights = self.highlights_after(user, room, pos)?;
        unread.main.highlights = highlights.len() as u64;
        let replies = self.replies_after(room, pos)?;
        if replies.is_empty() {
            return Ok(unread);
        }
        let read = self.thread_positions(user, room)?;
        for (root, pos) in replies {
            let highlight = u64::from(highlights.contains(&pos));
            let main = &mut unread.main;
            main.notifications = main.notifications.saturating_sub(1);
            main.highlights = main.highlights.saturating_sub(highlight);
            if read.get(&root).is_none_or(|read| *read < pos) {
                let thread = unread.threads.entry(root).or_default();
                thread.notifications += 1;
                thread.highlights += highlight;
            }
        }
        Ok(unread)
    }

    fn highlights_after(&self, user: UserNid, room: RoomNid, pos: i64) -> Result<HashSet<i64>> {
        let sql = "SELECT pos FROM highlights WHERE user_nid = ?1 AND room_nid = ?2 AND pos > ?3
                   UNION
                   SELECT pos FROM room_highlights WHERE room_nid = ?2 AND pos > ?3
                   LIMIT ?4";
        let found = self.all(sql, params![user, room, pos, COUNTED], |row| row.get(0))?;
        Ok(found.into_iter().collect())
    }

    /// Thread roots and places of replies that notify.
    fn replies_after(&self, room: RoomNid, pos: i64) -> Result<Vec<(String, i64)>> {
        let sql = "SELECT parent_id, pos FROM event_relations
                   WHERE room_nid = ?1 AND rel_type = 'm.thread' AND pos > ?2 AND notifies = 1
                   ORDER BY pos LIMIT ?3";
        self.all(sql, params![room, pos, COUNTED], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// Up to where a user has read the threads of a room, by their roots.
    fn thread_positions(&self, user: UserNid, room: RoomNid) -> Result<HashMap<String, i64>> {
        let sql = "SELECT r.thread_id, e.pos FROM receipts r
                   JOIN events e ON e.room_nid = r.room_nid AND e.event_id = r.event_id
                   WHERE r.room_nid = ?1 AND r.user_nid = ?2 AND e.pos IS NOT NULL";
        let mut read: HashMap<String, i64> = HashMap::new();
        for (thread, pos) in self.all(sql, params![room, user], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
        })? {
            // One may have a public and a private receipt.
            let read = read.entry(thread).or_insert(pos);
            *read = (*read).max(pos);
        }
        Ok(read)
    }
}

impl WriteTx<'_> {
    /// Notes that a local user has read a room up to the event at `pos`, and says whether that is news. Wakes the user.
    pub fn set_read_position(&mut self, user: UserNid, room: RoomNid, pos: i64) -> Result<bool> {
        let sql = "SELECT notify_ord FROM events WHERE room_nid = ?1 AND pos = ?2";
        let Some(notify_ord) = self.optional(sql, params![room, pos], |row| row.get(0))? else {
            return Ok(false);
        };
        let seq = self.next_position();
        let moved = self.advance_read_position(user, room, pos, notify_ord, seq)?;
        if moved {
            self.execute(
                "DELETE FROM highlights WHERE user_nid = ?1 AND room_nid = ?2 AND pos <= ?3",
                params![user, room, pos],
            )?;
            self.announce(Topic::User(user));
        }
        Ok(moved)
    }

    /// Moves a read position forward; never back.
    pub(crate) fn advance_read_position(
        &mut self,
        user: UserNid,
        room: RoomNid,
        pos: i64,
        notify_ord: i64,
        seq: Position,
    ) -> Result<bool> {
        let changed = self.execute(
            "INSERT INTO read_positions (user_nid, room_nid, pos, notify_ord, seq)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (user_nid, room_nid)
             DO UPDATE SET pos = excluded.pos, notify_ord = excluded.notify_ord, seq = excluded.seq
             WHERE excluded.pos > read_positions.pos",
            params![user, room, pos, notify_ord, seq],
        )?;
        Ok(changed > 0)
    }

    /// Starts counting at a user's join.
    pub(crate) fn start_read_position(
        &mut self,
        user: UserNid,
        room: RoomNid,
        pos: i64,
        notify_ord: i64,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO read_positions (user_nid, room_nid, pos, notify_ord, seq)
             VALUES (?1, ?2, ?3, ?4, ?3) ON CONFLICT DO NOTHING",
            params![user, room, pos, notify_ord],
        )?;
        Ok(())
    }

    /// Stops counting: the user is no longer in the room.
    pub(crate) fn forget_read_position(&mut self, user: UserNid, room: RoomNid) -> Result<()> {
        self.execute(
            "DELETE FROM read_positions WHERE user_nid = ?1 AND room_nid = ?2",
            params![user, room],
        )?;
        self.execute(
            "DELETE FROM highlights WHERE user_nid = ?1 AND room_nid = ?2",
            params![user, room],
        )?;
        Ok(())
    }
}
