//! Whose bytes lie in the media folder: uploads of local users, and the cache of other servers' media.

mod cache;
mod contents;
mod pending;
mod quarantine;
mod thumbnails;
mod uploads;

use ruma::{ServerName, UserId};
use rusqlite::{Row, params};

pub use self::{
    contents::ContentHash, pending::PendingMedia, quarantine::QuarantinedContent,
    thumbnails::ThumbnailKey, uploads::UploadedMedia,
};
use crate::{ReadTx, Result};

/// What is known of a medium, beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRow {
    /// The SHA-256 of its bytes.
    pub sha256: ContentHash,
    /// How many bytes it has.
    pub size: u64,
    /// The media type that its sender gave.
    pub content_type: Option<String>,
    /// The file name that its sender gave.
    pub file_name: Option<String>,
}

/// A medium that lies here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptMedia {
    /// What it is.
    pub media: MediaRow,
    /// When it was uploaded or fetched, in milliseconds since the Unix epoch.
    pub since_ts: u64,
    /// Whether a scanner has found its content clean.
    pub is_scanned: bool,
    /// Whether its content is handed out to nobody.
    pub is_quarantined: bool,
}

impl ReadTx<'_> {
    /// What a local user uploaded.
    pub fn local_media(&self, media_id: &str) -> Result<Option<KeptMedia>> {
        let sql = "SELECT sha256, size, content_type, file_name, created_ts, scanned_ts IS NOT NULL, \
                   EXISTS (SELECT 1 FROM media_quarantine q WHERE q.sha256 = m.sha256) \
                   FROM local_media m JOIN media_contents USING (sha256) WHERE media_id = ?1 \
                   AND NOT EXISTS (SELECT 1 FROM media_erasures WHERE user_nid = uploader_nid)";
        self.optional(sql, [media_id], kept_media)
    }

    /// A cached medium of another server, with the time of its last access in milliseconds since the Unix epoch.
    pub fn remote_media(
        &self,
        server: &ServerName,
        media_id: &str,
    ) -> Result<Option<(KeptMedia, u64)>> {
        let sql = "SELECT sha256, size, content_type, file_name, fetched_ts, scanned_ts IS NOT NULL, \
                   EXISTS (SELECT 1 FROM media_quarantine q WHERE q.sha256 = m.sha256), access_ts \
                   FROM remote_media m JOIN media_contents USING (sha256) JOIN servers USING (server_nid) \
                   WHERE server_name = ?1 AND media_id = ?2";
        self.optional(sql, params![server.as_str(), media_id], |row| {
            Ok((kept_media(row)?, row.get(7)?))
        })
    }

    /// The bytes of everything that a local user uploaded.
    pub fn uploaded_bytes(&self, uploader: &UserId) -> Result<u64> {
        let sql = "SELECT COALESCE(SUM(size), 0) FROM local_media JOIN media_contents USING (sha256) \
                   JOIN users ON user_nid = uploader_nid WHERE user_id = ?1";
        self.one(sql, [uploader.as_str()], |row| row.get(0))
    }

    /// The bytes of everything that local users uploaded.
    pub fn local_media_bytes(&self) -> Result<u64> {
        let sql = "SELECT value FROM counters WHERE name = 'local_media_bytes'";
        self.one(sql, [], |row| row.get(0))
    }

    /// The bytes of everything in the cache of other servers' media.
    pub fn remote_media_bytes(&self) -> Result<u64> {
        let sql = "SELECT value FROM counters WHERE name = 'remote_media_bytes'";
        self.one(sql, [], |row| row.get(0))
    }
}

fn media_row(row: &Row<'_>) -> rusqlite::Result<MediaRow> {
    Ok(MediaRow {
        sha256: row.get(0)?,
        size: row.get(1)?,
        content_type: row.get(2)?,
        file_name: row.get(3)?,
    })
}

fn kept_media(row: &Row<'_>) -> rusqlite::Result<KeptMedia> {
    Ok(KeptMedia {
        media: media_row(row)?,
        since_ts: row.get(4)?,
        is_scanned: row.get(5)?,
        is_quarantined: row.get(6)?,
    })
}

#[cfg(test)]
mod testing {
    use ruma::server_name;
    use rusqlite::Connection;

    use super::*;
    use crate::{Position, WriteTx, migrations::migrate, names};

    pub(super) fn at(connection: &Connection, now_ms: u64) -> WriteTx<'_> {
        WriteTx::new(connection, Position::START, now_ms)
    }

    pub(super) fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        connection
            .pragma_update(None, "foreign_keys", "ON")
            .unwrap();
        migrate(&mut connection).unwrap();
        names::claim(&connection, server_name!("own.lu")).unwrap();
        connection
    }

    pub(super) fn media(byte: u8, size: u64) -> MediaRow {
        MediaRow {
            sha256: [byte; 32],
            size,
            content_type: Some("image/png".to_owned()),
            file_name: None,
        }
    }
}
