//! What clients keep on the server for themselves: globally, and by room. Contents are JSON that only clients understand.

use rusqlite::{Row, params};
use serde_json::value::RawValue;

use super::parse;
use crate::{Position, ReadTx, Result, RoomNid, Topic, UserNid, WriteTx};

/// One event of a user's global account data.
#[derive(Clone, Debug)]
pub struct AccountData {
    /// Its type.
    pub event_type: String,
    /// Its content.
    pub content: Box<RawValue>,
}

/// One event of a user's account data in a room.
#[derive(Clone, Debug)]
pub struct RoomAccountData {
    /// The room.
    pub room: RoomNid,
    /// Its type; `m.tag` holds the room's tags.
    pub event_type: String,
    /// Its content.
    pub content: Box<RawValue>,
}

impl ReadTx<'_> {
    /// The content of one type.
    pub fn account_data(&self, user: UserNid, event_type: &str) -> Result<Option<Box<RawValue>>> {
        let sql = "SELECT content FROM account_data \
                   WHERE user_nid = ?1 AND event_type = ?2 AND content <> '{}'";
        self.optional(sql, params![user, event_type], |row| content(row, 0))
    }

    /// All types that changed after a position; [`Position::START`] for all there are. What was deleted after the position
    /// has no content any more.
    pub fn account_data_since(&self, user: UserNid, after: Position) -> Result<Vec<AccountData>> {
        let sql = "SELECT event_type, content FROM account_data \
                   WHERE user_nid = ?1 AND seq > ?2 AND (content <> '{}' OR ?2 > 0) ORDER BY seq";
        self.all(sql, params![user, after], |row| {
            Ok(AccountData {
                event_type: row.get(0)?,
                content: content(row, 1)?,
            })
        })
    }

    /// How many types a user has globally.
    pub fn account_data_count(&self, user: UserNid) -> Result<usize> {
        let sql = "SELECT count(*) FROM account_data WHERE user_nid = ?1";
        self.one(sql, [user], |row| row.get(0))
    }

    /// How many types a user has in a room.
    pub fn room_account_data_count(&self, user: UserNid, room: RoomNid) -> Result<usize> {
        let sql = "SELECT count(*) FROM room_account_data WHERE user_nid = ?1 AND room_nid = ?2";
        self.one(sql, params![user, room], |row| row.get(0))
    }

    /// The content of one type in a room.
    pub fn room_account_data(
        &self,
        user: UserNid,
        room: RoomNid,
        event_type: &str,
    ) -> Result<Option<Box<RawValue>>> {
        let sql = "SELECT content FROM room_account_data \
                   WHERE user_nid = ?1 AND room_nid = ?2 AND event_type = ?3 AND content <> '{}'";
        self.optional(sql, params![user, room, event_type], |row| content(row, 0))
    }

    /// All types in all rooms that changed after a position; [`Position::START`] for all there are.
    pub fn room_account_data_since(
        &self,
        user: UserNid,
        after: Position,
    ) -> Result<Vec<RoomAccountData>> {
        let sql = "SELECT room_nid, event_type, content FROM room_account_data \
                   WHERE user_nid = ?1 AND seq > ?2 AND (content <> '{}' OR ?2 > 0) ORDER BY seq";
        self.all(sql, params![user, after], room_account_data)
    }

    /// One type in all rooms that have it.
    pub fn room_account_data_of_type(
        &self,
        user: UserNid,
        event_type: &str,
    ) -> Result<Vec<(RoomNid, Box<RawValue>)>> {
        let sql = "SELECT room_nid, content FROM room_account_data \
                   WHERE user_nid = ?1 AND event_type = ?2 AND content <> '{}'";
        self.all(sql, params![user, event_type], |row| {
            Ok((row.get(0)?, content(row, 1)?))
        })
    }

    /// All types in one room.
    pub fn room_account_data_of(
        &self,
        user: UserNid,
        room: RoomNid,
    ) -> Result<Vec<RoomAccountData>> {
        let sql = "SELECT room_nid, event_type, content FROM room_account_data \
                   WHERE user_nid = ?1 AND room_nid = ?2 AND content <> '{}' ORDER BY seq";
        self.all(sql, params![user, room], room_account_data)
    }
}

impl WriteTx<'_> {
    /// Sets the content of one type and wakes the user's clients.
    pub fn set_account_data(
        &mut self,
        user: UserNid,
        event_type: &str,
        content: &RawValue,
    ) -> Result<Position> {
        let seq = self.next_position();
        let sql = "INSERT INTO account_data (user_nid, event_type, content, seq) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT (user_nid, event_type) DO UPDATE SET content = excluded.content, seq = excluded.seq";
        self.execute(sql, params![user, event_type, content.get(), seq])?;
        self.announce(Topic::User(user));
        Ok(seq)
    }

    /// Sets the content of one type in a room and wakes the user's clients.
    pub fn set_room_account_data(
        &mut self,
        user: UserNid,
        room: RoomNid,
        event_type: &str,
        content: &RawValue,
    ) -> Result<Position> {
        let seq = self.next_position();
        let sql = "INSERT INTO room_account_data (user_nid, room_nid, event_type, content, seq) \
                   VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (user_nid, room_nid, event_type) \
                   DO UPDATE SET content = excluded.content, seq = excluded.seq";
        self.execute(sql, params![user, room, event_type, content.get(), seq])?;
        self.announce(Topic::User(user));
        Ok(seq)
    }

    /// Deletes one type of a user's account data, if there is any, and wakes the user's clients. What is left is an empty
    /// object, by which they learn of it.
    pub fn unset_account_data(&mut self, user: UserNid, event_type: &str) -> Result<()> {
        let sql = "UPDATE account_data SET content = '{}', seq = ?3 \
                   WHERE user_nid = ?1 AND event_type = ?2 AND content <> '{}'";
        let seq = self.next_position();
        if self.execute(sql, params![user, event_type, seq])? > 0 {
            self.announce(Topic::User(user));
        }
        Ok(())
    }

    /// The same in a room.
    pub fn unset_room_account_data(
        &mut self,
        user: UserNid,
        room: RoomNid,
        event_type: &str,
    ) -> Result<()> {
        let sql = "UPDATE room_account_data SET content = '{}', seq = ?4 \
                   WHERE user_nid = ?1 AND room_nid = ?2 AND event_type = ?3 AND content <> '{}'";
        let seq = self.next_position();
        if self.execute(sql, params![user, room, event_type, seq])? > 0 {
            self.announce(Topic::User(user));
        }
        Ok(())
    }

    /// Deletes all account data of a user, as an erased account's.
    pub fn delete_account_data(&mut self, user: UserNid) -> Result<()> {
        self.execute("DELETE FROM account_data WHERE user_nid = ?1", [user])?;
        self.execute("DELETE FROM room_account_data WHERE user_nid = ?1", [user])
            .map(drop)
    }
}

fn room_account_data(row: &Row<'_>) -> rusqlite::Result<RoomAccountData> {
    Ok(RoomAccountData {
        room: row.get(0)?,
        event_type: row.get(1)?,
        content: content(row, 2)?,
    })
}

fn content(row: &Row<'_>, column: usize) -> rusqlite::Result<Box<RawValue>> {
    parse(column, row.get(column)?, RawValue::from_string)
}
