//! Ids that clients may send in messages before the content is there.

use ruma::{OwnedUserId, UserId};
use rusqlite::params;

use crate::{ReadTx, Result, UserNid, WriteTx};

/// An id that waits for its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingMedia {
    /// Who may upload to it.
    pub uploader: OwnedUserId,
    /// Until when, in milliseconds since the Unix epoch.
    pub expires_ts: u64,
}

impl ReadTx<'_> {
    /// An id that waits for its content.
    pub fn pending_media(&self, media_id: &str) -> Result<Option<PendingMedia>> {
        let sql = "SELECT uploader_nid, expires_ts FROM pending_media WHERE media_id = ?1";
        let row: Option<(UserNid, u64)> =
            self.optional(sql, [media_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        row.map(|(uploader, expires_ts)| {
            Ok(PendingMedia {
                uploader: self.user_id(uploader)?,
                expires_ts,
            })
        })
        .transpose()
    }
}

impl WriteTx<'_> {
    /// Gives out an id until `expires_ts` (milliseconds since the Unix epoch). Not where the user has `limit` that wait
    /// already: then it returns when the first of them expires.
    pub fn insert_pending_media(
        &mut self,
        media_id: &str,
        uploader: &UserId,
        expires_ts: u64,
        limit: u32,
    ) -> Result<Option<u64>> {
        let uploader = self.user_nid_or_insert(uploader)?;
        let sql = "SELECT COUNT(*), COALESCE(MIN(expires_ts), 0) FROM pending_media \
                   WHERE uploader_nid = ?1 AND expires_ts > ?2";
        let (waiting, first_ts): (u32, u64) =
            self.one(sql, params![uploader, self.now_ms()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        if waiting >= limit {
            return Ok(Some(first_ts));
        }
        let sql =
            "INSERT INTO pending_media (media_id, uploader_nid, expires_ts) VALUES (?1, ?2, ?3)";
        self.execute(sql, params![media_id, uploader, expires_ts])?;
        Ok(None)
    }

    /// Takes an id whose content has come. `false` where it does not wait any more.
    pub fn take_pending_media(&mut self, media_id: &str) -> Result<bool> {
        let sql = "DELETE FROM pending_media WHERE media_id = ?1";
        Ok(self.execute(sql, [media_id])? > 0)
    }

    /// Forgets the ids that expired before `before_ts`, and says how many.
    pub fn expire_pending_media(&mut self, before_ts: u64) -> Result<usize> {
        let sql = "DELETE FROM pending_media WHERE expires_ts < ?1";
        self.execute(sql, [before_ts])
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::super::testing::{at, database};

    #[test]
    fn ids_wait_for_their_content_within_a_limit() {
        let database = database();
        let (alice, bob) = (user_id!("@alice:own.lu"), user_id!("@bob:own.lu"));
        let insert = |now_ms, id: &str, user, expires_ts| {
            let mut tx = at(&database, now_ms);
            tx.insert_pending_media(id, user, expires_ts, 2).unwrap()
        };
        assert_eq!(insert(1_000, "a", alice, 2_000), None);
        assert_eq!(insert(1_000, "b", alice, 3_000), None);
        assert_eq!(insert(1_000, "c", alice, 4_000), Some(2_000));
        assert_eq!(insert(1_000, "d", bob, 4_000), None);
        let mut tx = at(&database, 1_000);
        let waiting = tx.pending_media("a").unwrap().unwrap();
        assert_eq!((&*waiting.uploader, waiting.expires_ts), (alice, 2_000));
        assert!(tx.take_pending_media("b").unwrap());
        assert!(!tx.take_pending_media("b").unwrap());
        assert_eq!(insert(1_000, "e", alice, 5_000), None);

        // What has expired does not count, and goes.
        assert_eq!(insert(2_000, "f", alice, 5_000), None);
        assert_eq!(tx.expire_pending_media(2_001).unwrap(), 1);
        assert_eq!(tx.pending_media("a").unwrap(), None);
    }
}
