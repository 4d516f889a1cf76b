//! Server-side backups of room keys, sealed by the client.

use ruma::{OwnedRoomId, RoomId, api::client::backup::KeyBackupData, serde::Raw};
use rusqlite::{Row, params};

use crate::{Error, ReadTx, Result, UserNid, WriteTx};

/// A version of a user's backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyBackup {
    /// Its number.
    pub version: i64,
    /// How the sessions are sealed.
    pub algorithm: String,
    /// JSON that the algorithm defines.
    pub auth_data: String,
    /// Another number than before says that sessions changed.
    pub etag: i64,
    /// Sessions in it.
    pub count: u32,
}

/// A room key in a backup.
#[derive(Clone, Debug)]
pub struct BackedUpSession {
    /// The room that the key is for.
    pub room_id: OwnedRoomId,
    /// The Megolm session.
    pub session_id: String,
    /// The key and what is said of it.
    pub data: Raw<KeyBackupData>,
}

/// Which of two keys for the same session is the better one, from the best criterion to the least.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionQuality {
    /// The device that backed it up has verified where it comes from.
    pub is_verified: bool,
    /// The first message that it opens; smaller is better.
    pub first_message_index: i64,
    /// How many hands it went through; smaller is better.
    pub forwarded_count: i64,
}

/// Which sessions of a backup.
#[derive(Clone, Debug)]
pub enum SessionFilter {
    /// All.
    All,
    /// Those of a room.
    Room(OwnedRoomId),
    /// One.
    Session(OwnedRoomId, String),
}

const COLUMNS: &str = "version, algorithm, auth_data, etag, count";

impl ReadTx<'_> {
    /// The newest version of a user's backup that is not deleted.
    pub fn latest_key_backup(&self, user: UserNid) -> Result<Option<KeyBackup>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM key_backups WHERE user_nid = ?1 AND deleted = 0
             ORDER BY version DESC LIMIT 1"
        );
        self.optional(&sql, [user], backup)
    }

    /// A version of a user's backup that is not deleted.
    pub fn key_backup(&self, user: UserNid, version: i64) -> Result<Option<KeyBackup>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM key_backups
             WHERE user_nid = ?1 AND version = ?2 AND deleted = 0"
        );
        self.optional(&sql, params![user, version], backup)
    }

    /// Sessions of a backup, at most `limit`, by room.
    pub fn backed_up_sessions(
        &self,
        user: UserNid,
        version: i64,
        filter: &SessionFilter,
        limit: u32,
    ) -> Result<Vec<BackedUpSession>> {
        let (clause, room, session) = filter.parts();
        let sql = format!(
            "SELECT room_id, session_id, json FROM key_backup_sessions
             WHERE user_nid = ?1 AND version = ?2 AND {clause}
             ORDER BY room_id, session_id LIMIT ?5"
        );
        self.all(&sql, params![user, version, room, session, limit], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
            ))
        })?
        .into_iter()
        .map(|(room_id, session_id, json)| {
            Ok(BackedUpSession {
                room_id: RoomId::parse(room_id)
                    .map_err(|error| Error::invalid("room id", error))?,
                session_id,
                data: Raw::from_json_string(json)
                    .map_err(|error| Error::invalid("backed-up key", error))?,
            })
        })
        .collect()
    }
}

impl WriteTx<'_> {
    /// Starts a new version of a user's backup, and says its number.
    pub fn create_key_backup(
        &mut self,
        user: UserNid,
        algorithm: &str,
        auth_data: &str,
    ) -> Result<i64> {
        self.one(
            "INSERT INTO key_backups (user_nid, version, algorithm, auth_data, etag, count, deleted)
             SELECT ?1, COALESCE(MAX(version), 0) + 1, ?2, ?3, 0, 0, 0
             FROM key_backups WHERE user_nid = ?1
             RETURNING version",
            params![user, algorithm, auth_data],
            |row| row.get(0),
        )
    }

    /// Sets what a version's algorithm defines. `false` where there is no such version.
    pub fn set_key_backup_auth_data(
        &mut self,
        user: UserNid,
        version: i64,
        auth_data: &str,
    ) -> Result<bool> {
        let sql = "UPDATE key_backups SET auth_data = ?3
             WHERE user_nid = ?1 AND version = ?2 AND deleted = 0";
        Ok(self.execute(sql, params![user, version, auth_data])? > 0)
    }

    /// Deletes a version with all its sessions. `false` where there never was such a version.
    pub fn delete_key_backup(&mut self, user: UserNid, version: i64) -> Result<bool> {
        let key = params![user, version];
        let sql = "DELETE FROM key_backup_sessions WHERE user_nid = ?1 AND version = ?2";
        self.execute(sql, key)?;
        let sql = "UPDATE key_backups SET deleted = 1, auth_data = '{}', count = 0
             WHERE user_nid = ?1 AND version = ?2";
        Ok(self.execute(sql, key)? > 0)
    }

    /// Puts a session into a backup, unless it holds a key for it that is at least as good. The caller settles the
    /// backup's count with [`touch_key_backup`](Self::touch_key_backup).
    pub fn put_backed_up_session(
        &mut self,
        user: UserNid,
        version: i64,
        session: &BackedUpSession,
        quality: SessionQuality,
    ) -> Result<SessionChange> {
        let values = params![
            user,
            version,
            session.room_id.as_str(),
            session.session_id,
            quality.first_message_index,
            quality.forwarded_count,
            quality.is_verified,
            session.data.json().get()
        ];
        let inserted = self.execute(
            "INSERT INTO key_backup_sessions (user_nid, version, room_id, session_id,
                 first_message_index, forwarded_count, is_verified, json)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (user_nid, version, room_id, session_id) DO NOTHING",
            values,
        )?;
        if inserted > 0 {
            return Ok(SessionChange::Added);
        }
        let replaced = self.execute(
            "UPDATE key_backup_sessions
             SET first_message_index = ?5, forwarded_count = ?6, is_verified = ?7, json = ?8
             WHERE user_nid = ?1 AND version = ?2 AND room_id = ?3 AND session_id = ?4
                 AND (?7, first_message_index, forwarded_count) > (is_verified, ?5, ?6)",
            values,
        )?;
        Ok(if replaced > 0 {
            SessionChange::Replaced
        } else {
            SessionChange::Kept
        })
    }

    /// Deletes sessions of a backup, and says how many. The caller settles the backup's count likewise.
    pub fn delete_backed_up_sessions(
        &mut self,
        user: UserNid,
        version: i64,
        filter: &SessionFilter,
    ) -> Result<u32> {
        let (clause, room, session) = filter.parts();
        let sql = format!(
            "DELETE FROM key_backup_sessions WHERE user_nid = ?1 AND version = ?2 AND {clause}"
        );
        let deleted = self.execute(&sql, params![user, version, room, session])?;
        Ok(u32::try_from(deleted).unwrap_or(u32::MAX))
    }

    /// The sessions of a version changed: a new etag, and a new count.
    pub fn touch_key_backup(&mut self, user: UserNid, version: i64, count: u32) -> Result<i64> {
        self.one(
            "UPDATE key_backups SET etag = etag + 1, count = ?3
             WHERE user_nid = ?1 AND version = ?2 RETURNING etag",
            params![user, version, count],
            |row| row.get(0),
        )
    }
}

/// What became of a session that was put into a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// The backup had none.
    Added,
    /// It was better than the one there.
    Replaced,
    /// The one there is at least as good.
    Kept,
}

impl SessionFilter {
    /// A condition over parameters 3 and 4, one that an index serves, and their values.
    fn parts(&self) -> (&'static str, Option<&str>, Option<&str>) {
        match self {
            Self::All => ("?3 IS NULL AND ?4 IS NULL", None, None),
            Self::Room(room) => ("room_id = ?3 AND ?4 IS NULL", Some(room.as_str()), None),
            Self::Session(room, session) => (
                "room_id = ?3 AND session_id = ?4",
                Some(room.as_str()),
                Some(session),
            ),
        }
    }
}

fn backup(row: &Row<'_>) -> rusqlite::Result<KeyBackup> {
    Ok(KeyBackup {
        version: row.get(0)?,
        algorithm: row.get(1)?,
        auth_data: row.get(2)?,
        etag: row.get(3)?,
        count: row.get(4)?,
    })
}
