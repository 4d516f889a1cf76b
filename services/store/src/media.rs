//! Whose bytes lie in the media folder: uploads of local users, and the cache of other servers' media.

use ruma::{ServerName, UserId};
use rusqlite::{Row, params};

use crate::{ReadTx, Result, WriteTx};

/// A SHA-256, by which a content is named.
pub type ContentHash = [u8; 32];

/// How many media one eviction looks at.
const EVICTED_AT_ONCE: u32 = 1_000;

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

impl ReadTx<'_> {
    /// What a local user uploaded.
    pub fn local_media(&self, media_id: &str) -> Result<Option<MediaRow>> {
        let sql = "SELECT sha256, size, content_type, file_name FROM local_media \
                   JOIN media_contents USING (sha256) WHERE media_id = ?1";
        self.optional(sql, [media_id], media_row)
    }

    /// A cached medium of another server, with the time of its last access in milliseconds since the Unix epoch.
    pub fn remote_media(
        &self,
        server: &ServerName,
        media_id: &str,
    ) -> Result<Option<(MediaRow, u64)>> {
        let sql = "SELECT sha256, size, content_type, file_name, access_ts FROM remote_media \
                   JOIN media_contents USING (sha256) JOIN servers USING (server_nid) \
                   WHERE server_name = ?1 AND media_id = ?2";
        self.optional(sql, params![server.as_str(), media_id], |row| {
            Ok((media_row(row)?, row.get(4)?))
        })
    }

    /// Whether some medium has this content.
    pub fn has_media_content(&self, sha256: &ContentHash) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM media_contents WHERE sha256 = ?1)";
        self.one(sql, [sha256], |row| row.get(0))
    }

    /// The bytes of everything that a local user uploaded.
    pub fn uploaded_bytes(&self, uploader: &UserId) -> Result<u64> {
        let sql = "SELECT COALESCE(SUM(size), 0) FROM local_media JOIN media_contents USING (sha256) \
                   JOIN users ON user_nid = uploader_nid WHERE user_id = ?1";
        self.one(sql, [uploader.as_str()], |row| row.get(0))
    }

    /// The bytes of everything in the cache of other servers' media.
    pub fn remote_media_bytes(&self) -> Result<u64> {
        let sql = "SELECT value FROM counters WHERE name = 'remote_media_bytes'";
        self.one(sql, [], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Notes an upload, whose content is on disk.
    pub fn insert_local_media(
        &mut self,
        media_id: &str,
        uploader: &UserId,
        media: &MediaRow,
    ) -> Result<()> {
        let uploader = self.user_nid_or_insert(uploader)?;
        self.insert_media_content(media)?;
        let (kind, name) = (&media.content_type, &media.file_name);
        self.execute(
            "INSERT INTO local_media (media_id, sha256, content_type, file_name, uploader_nid, created_ts) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![media_id, media.sha256, kind, name, uploader, self.now_ms()],
        )?;
        Ok(())
    }

    /// Notes a medium of another server, whose content is on disk. One that is there already stays as it is: media never
    /// change.
    pub fn insert_remote_media(
        &mut self,
        server: &ServerName,
        media_id: &str,
        media: &MediaRow,
    ) -> Result<()> {
        if self.remote_media(server, media_id)?.is_some() {
            return Ok(());
        }
        let server = self.server_nid_or_insert(server)?;
        self.insert_media_content(media)?;
        let (kind, name) = (&media.content_type, &media.file_name);
        self.execute(
            "INSERT INTO remote_media \
             (server_nid, media_id, sha256, content_type, file_name, fetched_ts, access_ts) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
            params![server, media_id, media.sha256, kind, name, self.now_ms()],
        )?;
        let sql = "UPDATE counters SET value = value + ?1 WHERE name = 'remote_media_bytes'";
        self.execute(sql, [media.size])?;
        Ok(())
    }

    /// Notes that a cached medium is looked at now.
    pub fn touch_remote_media(&mut self, server: &ServerName, media_id: &str) -> Result<()> {
        let Some(server) = self.server_nid(server)? else {
            return Ok(());
        };
        self.execute(
            "UPDATE remote_media SET access_ts = ?3 WHERE server_nid = ?1 AND media_id = ?2",
            params![server, media_id, self.now_ms()],
        )?;
        Ok(())
    }

    /// Forgets the cached media that nobody has looked at for longest, until at most `cap` bytes are left. Returns the
    /// contents that no medium has any more, whose files may go. A cache far above its cap takes several turns: one that
    /// forgot nothing was the last.
    pub fn evict_remote_media(&mut self, cap: u64) -> Result<Eviction> {
        let mut eviction = Eviction::default();
        let mut left = self.remote_media_bytes()?;
        if left <= cap {
            return Ok(eviction);
        }
        let sql = "SELECT server_nid, media_id, sha256, size FROM remote_media \
                   JOIN media_contents USING (sha256) ORDER BY access_ts LIMIT ?1";
        let oldest = self.all(sql, [EVICTED_AT_ONCE], |row| {
            let key: (i64, String) = (row.get(0)?, row.get(1)?);
            let content: (ContentHash, u64) = (row.get(2)?, row.get(3)?);
            Ok((key, content))
        })?;
        for ((server, media_id), (sha256, size)) in oldest {
            if left <= cap {
                break;
            }
            let sql = "DELETE FROM remote_media WHERE server_nid = ?1 AND media_id = ?2";
            self.execute(sql, params![server, media_id])?;
            left = left.saturating_sub(size);
            eviction.media += 1;
            let unused = self.execute(
                "DELETE FROM media_contents WHERE sha256 = ?1 \
                 AND NOT EXISTS (SELECT 1 FROM local_media l WHERE l.sha256 = ?1) \
                 AND NOT EXISTS (SELECT 1 FROM remote_media r WHERE r.sha256 = ?1)",
                [sha256],
            )?;
            if unused > 0 {
                eviction.contents.push(sha256);
            }
        }
        let sql = "UPDATE counters SET value = ?1 WHERE name = 'remote_media_bytes'";
        self.execute(sql, [left])?;
        Ok(eviction)
    }

    fn insert_media_content(&mut self, media: &MediaRow) -> Result<()> {
        self.execute(
            "INSERT INTO media_contents (sha256, size) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![media.sha256, media.size],
        )?;
        Ok(())
    }
}

/// What an eviction took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eviction {
    /// How many media were forgotten.
    pub media: usize,
    /// Contents that no medium has any more.
    pub contents: Vec<ContentHash>,
}

fn media_row(row: &Row<'_>) -> rusqlite::Result<MediaRow> {
    Ok(MediaRow {
        sha256: row.get(0)?,
        size: row.get(1)?,
        content_type: row.get(2)?,
        file_name: row.get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};
    use rusqlite::Connection;

    use super::*;
    use crate::{Position, migrations::migrate, names};

    fn at(connection: &Connection, now_ms: u64) -> WriteTx<'_> {
        WriteTx::new(connection, Position::START, now_ms)
    }

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        names::claim(&connection, server_name!("own.lu")).unwrap();
        connection
    }

    fn media(byte: u8, size: u64) -> MediaRow {
        MediaRow {
            sha256: [byte; 32],
            size,
            content_type: Some("image/png".to_owned()),
            file_name: None,
        }
    }

    #[test]
    fn uploads_are_found_and_counted_by_user() {
        let database = database();
        let mut tx = at(&database, 1_000);
        let alice = user_id!("@alice:own.lu");
        tx.insert_local_media("a", alice, &media(1, 10)).unwrap();
        tx.insert_local_media("b", alice, &media(1, 10)).unwrap();
        tx.insert_local_media("c", alice, &media(2, 5)).unwrap();
        assert_eq!(tx.local_media("b").unwrap(), Some(media(1, 10)));
        assert_eq!(tx.local_media("d").unwrap(), None);
        assert_eq!(tx.uploaded_bytes(alice).unwrap(), 25);
        assert_eq!(tx.uploaded_bytes(user_id!("@bob:own.lu")).unwrap(), 0);
        assert!(tx.has_media_content(&[2; 32]).unwrap());
        assert!(!tx.has_media_content(&[3; 32]).unwrap());
    }

    #[test]
    fn the_longest_untouched_is_evicted_and_shared_contents_stay() {
        let database = database();
        let peer = server_name!("peer.lu");
        let insert = |now_ms, id: &str, row: &MediaRow| {
            at(&database, now_ms)
                .insert_remote_media(peer, id, row)
                .unwrap();
        };
        insert(1, "shared", &media(1, 10));
        insert(2, "touched", &media(2, 10));
        insert(3, "old", &media(3, 10));
        insert(4, "new", &media(4, 10));
        // A repeated fetch is counted once.
        insert(5, "new", &media(4, 10));
        let mut tx = at(&database, 9);
        tx.insert_local_media("local", user_id!("@a:own.lu"), &media(1, 10))
            .unwrap();
        tx.touch_remote_media(peer, "touched").unwrap();
        assert_eq!(tx.remote_media_bytes().unwrap(), 40);

        let eviction = tx.evict_remote_media(20).unwrap();
        assert_eq!((eviction.media, eviction.contents), (2, vec![[3; 32]]));
        assert_eq!(tx.remote_media_bytes().unwrap(), 20);
        assert!(tx.remote_media(peer, "shared").unwrap().is_none());
        assert!(tx.local_media("local").unwrap().is_some());
        let touched = tx.remote_media(peer, "touched").unwrap();
        assert_eq!(touched, Some((media(2, 10), 9)));
        assert_eq!(tx.evict_remote_media(20).unwrap(), Eviction::default());
    }
}
