//! Thumbnails: one for each size that was wanted of a content, kept like the cache of other servers' media.

use rusqlite::{Row, params};

use super::{ContentHash, MediaRow};
use crate::{ReadTx, Result, WriteTx};

/// How many thumbnails one turn forgets.
const EVICTED_AT_ONCE: u32 = 500;

/// Which thumbnail of which content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThumbnailKey {
    /// The content that it is made of.
    pub original: ContentHash,
    /// In pixels, as it was wanted.
    pub width: u32,
    /// In pixels, as it was wanted.
    pub height: u32,
    /// Whether it takes the wanted shape; else it keeps the original's.
    pub is_crop: bool,
}

impl ReadTx<'_> {
    /// A thumbnail, with the time of its last access in milliseconds since the Unix epoch.
    pub fn thumbnail(&self, key: &ThumbnailKey) -> Result<Option<(MediaRow, u64)>> {
        let sql = "SELECT sha256, size, content_type, access_ts FROM media_thumbnails \
                   JOIN media_contents USING (sha256) \
                   WHERE original = ?1 AND width = ?2 AND height = ?3 AND is_crop = ?4";
        let key = params![key.original, key.width, key.height, key.is_crop];
        self.optional(sql, key, |row| {
            let media = MediaRow {
                sha256: row.get(0)?,
                size: row.get(1)?,
                content_type: row.get(2)?,
                file_name: None,
            };
            Ok((media, row.get(3)?))
        })
    }

    /// The bytes of all thumbnails.
    pub fn thumbnail_bytes(&self) -> Result<u64> {
        let sql = "SELECT value FROM counters WHERE name = 'media_thumbnail_bytes'";
        self.one(sql, [], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Notes a thumbnail, whose content is on disk; the original's own content where that stands for its thumbnail. Returns
    /// whether the original is still there.
    pub fn insert_thumbnail(&mut self, key: &ThumbnailKey, thumbnail: &MediaRow) -> Result<bool> {
        if !self.has_media_content(&key.original)? {
            return Ok(false);
        }
        self.insert_media_content(thumbnail)?;
        let inserted = self.execute(
            "INSERT INTO media_thumbnails \
             (original, width, height, is_crop, sha256, content_type, access_ts) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            params![
                key.original,
                key.width,
                key.height,
                key.is_crop,
                thumbnail.sha256,
                thumbnail.content_type,
                self.now_ms()
            ],
        )?;
        if inserted > 0 && thumbnail.sha256 != key.original {
            let sql = "UPDATE counters SET value = value + ?1 WHERE name = 'media_thumbnail_bytes'";
            self.execute(sql, [thumbnail.size])?;
        }
        Ok(true)
    }

    /// Notes that a thumbnail is looked at now.
    pub fn touch_thumbnail(&mut self, key: &ThumbnailKey) -> Result<()> {
        let now_ms = self.now_ms();
        let sql = "UPDATE media_thumbnails SET access_ts = ?5 \
                   WHERE original = ?1 AND width = ?2 AND height = ?3 AND is_crop = ?4";
        let key = params![key.original, key.width, key.height, key.is_crop, now_ms];
        self.execute(sql, key).map(drop)
    }

    /// Forgets the thumbnails that nobody has looked at for longest, until at most `cap` bytes are left, and returns how
    /// many. Many take several turns: one that forgot nothing was the last.
    pub fn evict_thumbnails(&mut self, cap: u64) -> Result<usize> {
        let mut left = self.thumbnail_bytes()?;
        if left <= cap {
            return Ok(0);
        }
        let mut evicted = self.least_used_thumbnails(i64::MAX)?;
        let enough = evicted.iter().position(|thumbnail| {
            left = left.saturating_sub(thumbnail.bytes());
            left <= cap
        });
        evicted.truncate(enough.map_or(evicted.len(), |last| last + 1));
        self.forget_thumbnails(&evicted)
    }

    /// Forgets thumbnails that nobody has looked at since `before_ts` (milliseconds since the Unix epoch), and returns how
    /// many. One turn takes a part; one that returns 0 was the last.
    pub fn expire_thumbnails(&mut self, before_ts: u64) -> Result<usize> {
        let before_ts = i64::try_from(before_ts).unwrap_or(i64::MAX);
        let expired = self.least_used_thumbnails(before_ts)?;
        self.forget_thumbnails(&expired)
    }

    /// Forgets the thumbnails that have a content, and returns how many in this turn.
    pub fn forget_thumbnail_content(&mut self, sha256: &ContentHash) -> Result<usize> {
        let sql = "SELECT original, width, height, is_crop, sha256, size FROM media_thumbnails \
                   JOIN media_contents USING (sha256) WHERE sha256 = ?1 AND original <> ?1 LIMIT ?2";
        let found = self.all(sql, params![sha256, EVICTED_AT_ONCE], thumbnail)?;
        self.forget_thumbnails(&found)
    }

    /// Forgets all thumbnails of a content: there are as many as there are sizes.
    pub(super) fn forget_thumbnails_of(&mut self, original: &ContentHash) -> Result<()> {
        let sql = "SELECT original, width, height, is_crop, sha256, size FROM media_thumbnails \
                   JOIN media_contents USING (sha256) WHERE original = ?1";
        let found = self.all(sql, [original], thumbnail)?;
        self.forget_thumbnails(&found).map(drop)
    }

    fn forget_thumbnails(&mut self, thumbnails: &[Thumbnail]) -> Result<usize> {
        for thumbnail in thumbnails {
            let key = &thumbnail.key;
            self.execute(
                "DELETE FROM media_thumbnails \
                 WHERE original = ?1 AND width = ?2 AND height = ?3 AND is_crop = ?4",
                params![key.original, key.width, key.height, key.is_crop],
            )?;
            let sql = "UPDATE counters SET value = value - ?1 WHERE name = 'media_thumbnail_bytes'";
            self.execute(sql, [thumbnail.bytes()])?;
            if thumbnail.sha256 != key.original {
                self.release_media_content(&thumbnail.sha256)?;
            }
        }
        Ok(thumbnails.len())
    }
}

impl ReadTx<'_> {
    fn least_used_thumbnails(&self, before_ts: i64) -> Result<Vec<Thumbnail>> {
        let sql = "SELECT original, width, height, is_crop, sha256, size FROM media_thumbnails \
                   JOIN media_contents USING (sha256) WHERE access_ts < ?1 ORDER BY access_ts LIMIT ?2";
        self.all(sql, params![before_ts, EVICTED_AT_ONCE], thumbnail)
    }
}

/// A row that may go.
struct Thumbnail {
    key: ThumbnailKey,
    sha256: ContentHash,
    size: u64,
}

impl Thumbnail {
    /// What it takes of the disk: nothing where the original stands for it.
    fn bytes(&self) -> u64 {
        if self.sha256 == self.key.original {
            0
        } else {
            self.size
        }
    }
}

fn thumbnail(row: &Row<'_>) -> rusqlite::Result<Thumbnail> {
    Ok(Thumbnail {
        key: ThumbnailKey {
            original: row.get(0)?,
            width: row.get(1)?,
            height: row.get(2)?,
            is_crop: row.get(3)?,
        },
        sha256: row.get(4)?,
        size: row.get(5)?,
    })
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::{
        super::testing::{at, database, media},
        *,
    };

    fn key(original: u8, width: u32) -> ThumbnailKey {
        ThumbnailKey {
            original: [original; 32],
            width,
            height: 32,
            is_crop: true,
        }
    }

    #[test]
    fn thumbnails_go_with_their_originals_and_when_nobody_looks() {
        let database = database();
        let alice = user_id!("@alice:own.lu");
        let mut tx = at(&database, 1);
        tx.insert_local_media("a", alice, &media(1, 100)).unwrap();
        assert!(tx.insert_thumbnail(&key(1, 32), &media(10, 5)).unwrap());
        assert!(tx.insert_thumbnail(&key(1, 96), &media(11, 7)).unwrap());
        // Once more changes nothing.
        assert!(tx.insert_thumbnail(&key(1, 96), &media(11, 7)).unwrap());
        assert!(!tx.insert_thumbnail(&key(2, 32), &media(12, 5)).unwrap());
        assert!(!tx.has_media_content(&[12; 32]).unwrap());
        let (row, access_ts) = tx.thumbnail(&key(1, 32)).unwrap().unwrap();
        assert_eq!((row, access_ts), (media(10, 5), 1));
        assert_eq!(tx.thumbnail(&key(1, 33)).unwrap(), None);
        assert_eq!(tx.thumbnail_bytes().unwrap(), 12);

        let mut tx = at(&database, 2);
        tx.touch_thumbnail(&key(1, 32)).unwrap();
        assert_eq!(tx.evict_thumbnails(11).unwrap(), 1);
        assert_eq!(tx.evict_thumbnails(11).unwrap(), 0);
        assert!(tx.thumbnail(&key(1, 96)).unwrap().is_none());
        assert_eq!(tx.media_removals(9).unwrap(), [[11; 32]]);

        assert!(tx.delete_local_media("a").unwrap());
        assert!(tx.thumbnail(&key(1, 32)).unwrap().is_none());
        assert_eq!(tx.thumbnail_bytes().unwrap(), 0);
        assert_eq!(tx.media_removals(9).unwrap().len(), 3);
    }

    #[test]
    fn what_is_more_than_a_thumbnail_stays() {
        let database = database();
        let alice = user_id!("@alice:own.lu");
        let mut tx = at(&database, 1);
        tx.insert_local_media("a", alice, &media(1, 100)).unwrap();
        // The original stands for itself at one size, and somebody uploaded a thumbnail of it at another.
        tx.insert_thumbnail(&key(1, 800), &media(1, 100)).unwrap();
        tx.insert_thumbnail(&key(1, 32), &media(10, 5)).unwrap();
        tx.insert_local_media("b", alice, &media(10, 5)).unwrap();
        tx.insert_thumbnail(&key(10, 32), &media(10, 5)).unwrap();
        assert_eq!(tx.thumbnail_bytes().unwrap(), 5);

        assert_eq!(tx.expire_thumbnails(2).unwrap(), 3);
        assert_eq!(tx.thumbnail_bytes().unwrap(), 0);
        assert!(tx.has_media_content(&[1; 32]).unwrap());
        assert!(tx.has_media_content(&[10; 32]).unwrap());

        tx.insert_thumbnail(&key(1, 800), &media(1, 100)).unwrap();
        tx.insert_thumbnail(&key(1, 32), &media(10, 5)).unwrap();
        assert_eq!(tx.forget_thumbnail_content(&[10; 32]).unwrap(), 1);
        assert_eq!(tx.forget_thumbnail_content(&[1; 32]).unwrap(), 0);
        tx.insert_thumbnail(&key(1, 32), &media(10, 5)).unwrap();
        // What is still a thumbnail outlives the upload.
        assert!(tx.delete_local_media("b").unwrap());
        assert!(tx.has_media_content(&[10; 32]).unwrap());
        assert!(tx.delete_local_media("a").unwrap());
        assert_eq!(tx.media_removals(9).unwrap(), [[1; 32], [10; 32]]);
    }
}
