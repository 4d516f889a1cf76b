//! Contents that nobody may have: every medium that has one, now or later, is withheld.

use rusqlite::params;

use super::ContentHash;
use crate::{ReadTx, Result, WriteTx};

/// A content that nobody may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantinedContent {
    /// The SHA-256 of its bytes.
    pub sha256: ContentHash,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ts: u64,
}

impl ReadTx<'_> {
    /// Whether a content is in quarantine.
    pub fn is_quarantined(&self, sha256: &ContentHash) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM media_quarantine WHERE sha256 = ?1)";
        self.one(sql, [sha256], |row| row.get(0))
    }

    /// The contents in quarantine, in the order of the hashes behind `after`, at most `limit`.
    pub fn quarantined_contents(
        &self,
        after: Option<&ContentHash>,
        limit: u32,
    ) -> Result<Vec<QuarantinedContent>> {
        let after = after.map_or(&[][..], |sha256| sha256);
        let sql = "SELECT sha256, reason, quarantined_ts FROM media_quarantine \
                   WHERE sha256 > ?1 ORDER BY sha256 LIMIT ?2";
        self.all(sql, params![after, limit], |row| {
            Ok(QuarantinedContent {
                sha256: row.get(0)?,
                reason: row.get(1)?,
                since_ts: row.get(2)?,
            })
        })
    }

    /// How many contents are in quarantine.
    pub fn quarantined_count(&self) -> Result<u64> {
        self.one("SELECT COUNT(*) FROM media_quarantine", [], |row| {
            row.get(0)
        })
    }
}

impl WriteTx<'_> {
    /// Puts a content in quarantine. `false` where it is already; then the first reason stays.
    pub fn quarantine_content(&mut self, sha256: &ContentHash, reason: &str) -> Result<bool> {
        let sql = "INSERT INTO media_quarantine (sha256, reason, quarantined_ts) VALUES (?1, ?2, ?3) \
                   ON CONFLICT DO NOTHING";
        Ok(self.execute(sql, params![sha256, reason, self.now_ms()])? > 0)
    }

    /// Takes a content out of quarantine, as one that is found clean. `false` where it is not in it.
    pub fn release_from_quarantine(&mut self, sha256: &ContentHash) -> Result<bool> {
        let sql = "DELETE FROM media_quarantine WHERE sha256 = ?1";
        let released = self.execute(sql, [sha256])? > 0;
        if released {
            self.set_media_scanned(sha256)?;
        }
        Ok(released)
    }
}

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};

    use super::super::testing::{at, database, media};

    #[test]
    fn a_content_is_withheld_under_every_id() {
        let database = database();
        let mut tx = at(&database, 5);
        let (alice, peer) = (user_id!("@alice:own.lu"), server_name!("peer.lu"));
        tx.insert_local_media("a", alice, &media(1, 10)).unwrap();
        tx.insert_remote_media(peer, "b", &media(1, 10)).unwrap();
        tx.insert_local_media("other", alice, &media(2, 10))
            .unwrap();
        assert!(tx.quarantine_content(&[1; 32], "bad").unwrap());
        assert!(!tx.quarantine_content(&[1; 32], "worse").unwrap());
        let local = tx.local_media("a").unwrap().unwrap();
        let (remote, _) = tx.remote_media(peer, "b").unwrap().unwrap();
        assert!(local.is_quarantined && remote.is_quarantined);
        assert!(!tx.local_media("other").unwrap().unwrap().is_quarantined);
        let all = tx.quarantined_contents(None, 9).unwrap();
        assert_eq!(
            (all.len(), all[0].reason.as_str(), all[0].since_ts),
            (1, "bad", 5)
        );
        assert!(
            tx.quarantined_contents(Some(&[1; 32]), 9)
                .unwrap()
                .is_empty()
        );
        assert_eq!(tx.quarantined_count().unwrap(), 1);

        // The operator knows better than the scanner that would find it again.
        assert!(tx.release_from_quarantine(&[1; 32]).unwrap());
        assert!(!tx.release_from_quarantine(&[1; 32]).unwrap());
        let local = tx.local_media("a").unwrap().unwrap();
        assert!(local.is_scanned && !local.is_quarantined);
        assert!(!tx.is_quarantined(&[1; 32]).unwrap());
    }
}
