//! The cache of other servers' media.

use ruma::ServerName;
use rusqlite::params;

use super::{ContentHash, MediaRow};
use crate::{ReadTx, Result, ServerNid, WriteTx};

/// How many media one eviction looks at.
const EVICTED_AT_ONCE: u32 = 500;

/// A row of the cache, with the content and the size that it has.
type CacheRow = (ServerNid, String, ContentHash, u64);

impl WriteTx<'_> {
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

    /// Forgets the cached media that nobody has looked at for longest, until at most `cap` bytes are left, and returns how
    /// many. A cache far above its cap takes several turns: one that forgot nothing was the last.
    pub fn evict_remote_media(&mut self, cap: u64) -> Result<usize> {
        let mut left = self.remote_media_bytes()?;
        if left <= cap {
            return Ok(0);
        }
        let mut evicted = self.least_used(u64::MAX)?;
        let enough = evicted.iter().position(|(.., size)| {
            left = left.saturating_sub(*size);
            left <= cap
        });
        evicted.truncate(enough.map_or(evicted.len(), |last| last + 1));
        self.forget_remote_media(evicted)
    }

    /// Forgets cached media that nobody has looked at since `before_ts` (milliseconds since the Unix epoch), and returns how
    /// many. One turn takes a part; one that returns 0 was the last.
    pub fn expire_remote_media(&mut self, before_ts: u64) -> Result<usize> {
        let expired = self.least_used(before_ts)?;
        self.forget_remote_media(expired)
    }

    /// Forgets a cached medium. `false` where there is none.
    pub fn delete_remote_media(&mut self, server: &ServerName, media_id: &str) -> Result<bool> {
        let sql = "SELECT server_nid, media_id, sha256, size FROM remote_media \
                   JOIN media_contents USING (sha256) JOIN servers USING (server_nid) \
                   WHERE server_name = ?1 AND media_id = ?2";
        let found = self.all(sql, params![server.as_str(), media_id], cache_row)?;
        Ok(self.forget_remote_media(found)? > 0)
    }

    /// Forgets every cached medium that has a content, and returns how many.
    pub fn forget_remote_content(&mut self, sha256: &ContentHash) -> Result<usize> {
        let sql = "SELECT server_nid, media_id, sha256, size FROM remote_media \
                   JOIN media_contents USING (sha256) WHERE sha256 = ?1 LIMIT ?2";
        let found = self.all(sql, params![sha256, EVICTED_AT_ONCE], cache_row)?;
        self.forget_remote_media(found)
    }

    fn forget_remote_media(&mut self, media: Vec<CacheRow>) -> Result<usize> {
        for (server, media_id, sha256, size) in &media {
            let sql = "DELETE FROM remote_media WHERE server_nid = ?1 AND media_id = ?2";
            self.execute(sql, params![server, media_id])?;
            let sql = "UPDATE counters SET value = value - ?1 WHERE name = 'remote_media_bytes'";
            self.execute(sql, [size])?;
            self.release_media_content(sha256)?;
        }
        Ok(media.len())
    }
}

impl ReadTx<'_> {
    /// Some of the media that were looked at before `before_ts`, those of longest ago first.
    fn least_used(&self, before_ts: u64) -> Result<Vec<CacheRow>> {
        let before_ts = i64::try_from(before_ts).unwrap_or(i64::MAX);
        let sql = "SELECT server_nid, media_id, sha256, size FROM remote_media \
                   JOIN media_contents USING (sha256) WHERE access_ts < ?1 ORDER BY access_ts LIMIT ?2";
        self.all(sql, params![before_ts, EVICTED_AT_ONCE], cache_row)
    }
}

fn cache_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<CacheRow> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};

    use super::{
        super::testing::{at, database, media},
        *,
    };

    #[test]
    fn the_longest_untouched_is_evicted_and_shared_contents_stay() {
        let database = database();
        let peer = server_name!("peer.lu");
        let insert = |now_ms, id: &str, row: MediaRow| {
            at(&database, now_ms)
                .insert_remote_media(peer, id, &row)
                .unwrap();
        };
        insert(1, "shared", media(1, 10));
        insert(2, "touched", media(2, 10));
        insert(3, "old", media(3, 10));
        insert(4, "new", media(4, 10));
        // A repeated fetch is counted once.
        insert(5, "new", media(4, 10));
        let mut tx = at(&database, 9);
        tx.insert_local_media("local", user_id!("@a:own.lu"), &media(1, 10))
            .unwrap();
        tx.touch_remote_media(peer, "touched").unwrap();
        assert_eq!(tx.remote_media_bytes().unwrap(), 40);

        assert_eq!(tx.evict_remote_media(20).unwrap(), 2);
        assert_eq!(tx.media_removals(9).unwrap(), [[3; 32]]);
        assert_eq!(tx.remote_media_bytes().unwrap(), 20);
        assert!(tx.remote_media(peer, "shared").unwrap().is_none());
        assert!(tx.local_media("local").unwrap().is_some());
        let (touched, access_ts) = tx.remote_media(peer, "touched").unwrap().unwrap();
        assert_eq!(
            (touched.media, touched.since_ts, access_ts),
            (media(2, 10), 2, 9)
        );
        assert_eq!(tx.evict_remote_media(20).unwrap(), 0);

        // What nobody has looked at for long goes whatever its size.
        assert_eq!(tx.expire_remote_media(9).unwrap(), 1);
        assert_eq!(tx.expire_remote_media(9).unwrap(), 0);
        assert!(tx.remote_media(peer, "touched").unwrap().is_some());
        assert!(!tx.delete_remote_media(peer, "old").unwrap());
        tx.insert_remote_media(peer, "again", &media(3, 10))
            .unwrap();
        assert!(tx.delete_remote_media(peer, "again").unwrap());
        assert_eq!(tx.forget_remote_content(&[2; 32]).unwrap(), 1);
        assert_eq!(tx.remote_media_bytes().unwrap(), 0);
    }
}
