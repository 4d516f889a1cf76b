use rusqlite::params;

use super::MediaRow;
use crate::{ReadTx, Result, WriteTx};

/// A SHA-256, by which a content is named.
pub type ContentHash = [u8; 32];

impl ReadTx<'_> {
    /// The contents whose hashes begin with a byte, in order. One 256th of all there are.
    pub fn media_contents(&self, first: u8) -> Result<Vec<ContentHash>> {
        let (mut from, mut to) = ([0; 32], [u8::MAX; 32]);
        (from[0], to[0]) = (first, first);
        let sql =
            "SELECT sha256 FROM media_contents WHERE sha256 BETWEEN ?1 AND ?2 ORDER BY sha256";
        self.all(sql, [from, to], |row| row.get(0))
    }

    /// Whether some medium has this content.
    pub fn has_media_content(&self, sha256: &ContentHash) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM media_contents WHERE sha256 = ?1)";
        self.one(sql, [sha256], |row| row.get(0))
    }

    /// Whether a scanner has found a content clean.
    pub fn is_media_scanned(&self, sha256: &ContentHash) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM media_contents WHERE sha256 = ?1 AND scanned_ts IS NOT NULL)";
        self.one(sql, [sha256], |row| row.get(0))
    }

    /// Contents that no medium has any more and whose files are still to be removed, at most `limit`.
    pub fn media_removals(&self, limit: u32) -> Result<Vec<ContentHash>> {
        let sql = "SELECT sha256 FROM media_removals LIMIT ?1";
        self.all(sql, [limit], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Notes that the files of removed contents are gone.
    pub fn finish_media_removals(&mut self, contents: &[ContentHash]) -> Result<()> {
        for sha256 in contents {
            self.execute("DELETE FROM media_removals WHERE sha256 = ?1", [sha256])?;
        }
        Ok(())
    }

    /// Notes that a scanner has found a content clean.
    pub fn set_media_scanned(&mut self, sha256: &ContentHash) -> Result<()> {
        let sql = "UPDATE media_contents SET scanned_ts = ?2 WHERE sha256 = ?1";
        self.execute(sql, params![sha256, self.now_ms()]).map(drop)
    }

    /// Notes a content that is on disk.
    pub(super) fn insert_media_content(&mut self, media: &MediaRow) -> Result<()> {
        self.execute(
            "INSERT INTO media_contents (sha256, size) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![media.sha256, media.size],
        )?;
        self.finish_media_removals(&[media.sha256])
    }

    /// Lets go of a content, if no medium and no thumbnail has it any more; its file is removed later.
    pub(super) fn release_media_content(&mut self, sha256: &ContentHash) -> Result<()> {
        let sql = "SELECT EXISTS (SELECT 1 FROM local_media l WHERE l.sha256 = ?1) \
                   OR EXISTS (SELECT 1 FROM remote_media r WHERE r.sha256 = ?1) \
                   OR EXISTS (SELECT 1 FROM media_thumbnails t WHERE t.sha256 = ?1 AND t.original <> ?1)";
        if self.one(sql, [sha256], |row| row.get(0))? {
            return Ok(());
        }
        self.forget_thumbnails_of(sha256)?;
        let sql = "DELETE FROM media_contents WHERE sha256 = ?1";
        if self.execute(sql, [sha256])? > 0 {
            let sql = "INSERT INTO media_removals (sha256) VALUES (?1) ON CONFLICT DO NOTHING";
            self.execute(sql, [sha256])?;
        }
        Ok(())
    }
}
