//! What local users uploaded.

use ruma::UserId;
use rusqlite::params;

use super::{ContentHash, KeptMedia, MediaRow, kept_media};
use crate::{ReadTx, Result, UserNid, WriteTx};

/// How many media one erasure or expiry takes at a time.
const AT_ONCE: u32 = 500;

/// A medium that a local user uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedMedia {
    /// Its id.
    pub media_id: String,
    /// What it is.
    pub kept: KeptMedia,
}

impl ReadTx<'_> {
    /// What a local user uploaded, in the order of the ids behind `after`, at most `limit`.
    pub fn media_of(
        &self,
        uploader: UserNid,
        after: &str,
        limit: u32,
    ) -> Result<Vec<UploadedMedia>> {
        let sql = "SELECT sha256, size, content_type, file_name, created_ts, scanned_ts IS NOT NULL, \
                   EXISTS (SELECT 1 FROM media_quarantine q WHERE q.sha256 = m.sha256), media_id \
                   FROM local_media m JOIN media_contents USING (sha256) \
                   WHERE uploader_nid = ?1 AND media_id > ?2 ORDER BY media_id LIMIT ?3";
        self.all(sql, params![uploader, after, limit], |row| {
            Ok(UploadedMedia {
                media_id: row.get(7)?,
                kept: kept_media(row)?,
            })
        })
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
        let sql = "UPDATE counters SET value = value + ?1 WHERE name = 'local_media_bytes'";
        self.execute(sql, [media.size])?;
        Ok(())
    }

    /// Deletes an upload. `false` where there is none.
    pub fn delete_local_media(&mut self, media_id: &str) -> Result<bool> {
        let sql = "SELECT media_id, sha256, size FROM local_media JOIN media_contents USING (sha256) \
                   WHERE media_id = ?1";
        let found = self.optional(sql, [media_id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        let is_there = found.is_some();
        self.delete_uploads(found.into_iter().collect())?;
        Ok(is_there)
    }

    /// Deletes what was uploaded before `before_ts` (milliseconds since the Unix epoch), except the profile pictures of local
    /// users. One turn takes a part; one that returns 0 was the last.
    pub fn delete_local_media_before(&mut self, before_ts: u64) -> Result<usize> {
        let sql = "SELECT media_id, sha256, size FROM local_media JOIN media_contents USING (sha256) \
                   WHERE created_ts < ?1 AND NOT EXISTS (SELECT 1 FROM profile_fields \
                   WHERE user_nid = uploader_nid AND field = 'avatar_url' \
                   AND value LIKE '%/' || media_id || '\"') \
                   ORDER BY created_ts LIMIT ?2";
        let old = self.all(sql, params![before_ts, AT_ONCE], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        self.delete_uploads(old)
    }

    /// From this transaction on, what a user uploaded is gone for everybody. [`WriteTx::continue_media_erasure`] clears up.
    pub fn erase_media_of(&mut self, uploader: UserNid) -> Result<()> {
        let sql = "INSERT INTO media_erasures (user_nid) VALUES (?1) ON CONFLICT DO NOTHING";
        self.execute(sql, [uploader])?;
        let sql = "DELETE FROM pending_media WHERE uploader_nid = ?1";
        self.execute(sql, [uploader]).map(drop)
    }

    /// Deletes some of the media whose users are erased. Returns whether any are left.
    pub fn continue_media_erasure(&mut self) -> Result<bool> {
        let sql = "SELECT user_nid FROM media_erasures LIMIT 1";
        let Some(user): Option<UserNid> = self.optional(sql, [], |row| row.get(0))? else {
            return Ok(false);
        };
        let sql = "SELECT media_id, sha256, size FROM local_media JOIN media_contents USING (sha256) \
                   WHERE uploader_nid = ?1 LIMIT ?2";
        let erased = self.all(sql, params![user, AT_ONCE], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        if self.delete_uploads(erased)? == 0 {
            self.execute("DELETE FROM media_erasures WHERE user_nid = ?1", [user])?;
        }
        Ok(true)
    }

    fn delete_uploads(&mut self, media: Vec<(String, ContentHash, u64)>) -> Result<usize> {
        for (media_id, sha256, size) in &media {
            self.execute("DELETE FROM local_media WHERE media_id = ?1", [media_id])?;
            let sql = "UPDATE counters SET value = value - ?1 WHERE name = 'local_media_bytes'";
            self.execute(sql, [size])?;
            self.release_media_content(sha256)?;
        }
        Ok(media.len())
    }
}

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};
    use serde_json::json;

    use super::super::testing::{at, database, media};

    #[test]
    fn uploads_are_found_and_counted_by_user() {
        let database = database();
        let mut tx = at(&database, 1_000);
        let alice = user_id!("@alice:own.lu");
        tx.insert_local_media("a", alice, &media(1, 10)).unwrap();
        tx.insert_local_media("b", alice, &media(1, 10)).unwrap();
        tx.insert_local_media("c", alice, &media(2, 5)).unwrap();
        let kept = tx.local_media("b").unwrap().unwrap();
        assert_eq!((kept.media, kept.since_ts), (media(1, 10), 1_000));
        assert_eq!(tx.local_media("d").unwrap(), None);
        assert_eq!(tx.uploaded_bytes(alice).unwrap(), 25);
        assert_eq!(tx.uploaded_bytes(user_id!("@bob:own.lu")).unwrap(), 0);
        assert_eq!(tx.media_contents(2).unwrap(), [[2; 32]]);
        assert!(tx.media_contents(3).unwrap().is_empty());

        let nid = tx.user_nid(alice).unwrap().unwrap();
        let ids = |after| {
            let page = tx.media_of(nid, after, 2).unwrap().into_iter();
            page.map(|media| media.media_id).collect::<Vec<_>>()
        };
        assert_eq!(
            (ids(""), ids("b")),
            (vec!["a".into(), "b".into()], vec!["c".into()])
        );
    }

    #[test]
    fn a_content_goes_with_the_last_medium_that_has_it() {
        let database = database();
        let mut tx = at(&database, 1_000);
        let alice = user_id!("@alice:own.lu");
        tx.insert_local_media("a", alice, &media(1, 10)).unwrap();
        tx.insert_local_media("b", alice, &media(1, 10)).unwrap();
        assert!(tx.delete_local_media("a").unwrap());
        assert!(!tx.delete_local_media("a").unwrap());
        assert!(tx.media_removals(9).unwrap().is_empty());
        assert!(tx.delete_local_media("b").unwrap());
        assert_eq!(tx.local_media_bytes().unwrap(), 0);
        assert_eq!(tx.media_removals(9).unwrap(), [[1; 32]]);
        // It comes again before its file is removed.
        tx.insert_local_media("c", alice, &media(1, 10)).unwrap();
        assert!(tx.media_removals(9).unwrap().is_empty());
    }

    #[test]
    fn old_uploads_go_and_profile_pictures_stay() {
        let database = database();
        let alice = user_id!("@alice:own.lu");
        for (now_ms, id) in [(1, "old"), (2, "picture"), (5, "new")] {
            let mut tx = at(&database, now_ms);
            let content = media(u8::try_from(now_ms).unwrap(), 10);
            tx.insert_local_media(id, alice, &content).unwrap();
        }
        let mut tx = at(&database, 9);
        let nid = tx.user_nid(alice).unwrap().unwrap();
        let picture = json!("mxc://own.lu/picture");
        tx.set_profile_field(nid, "avatar_url", &picture).unwrap();
        assert_eq!(tx.delete_local_media_before(5).unwrap(), 1);
        assert_eq!(tx.delete_local_media_before(5).unwrap(), 0);
        assert_eq!(tx.local_media("old").unwrap(), None);
        assert!(tx.local_media("picture").unwrap().is_some());
        assert!(tx.local_media("new").unwrap().is_some());
    }

    #[test]
    fn an_erased_user_s_uploads_are_gone_at_once_and_others_stay() {
        let database = database();
        let mut tx = at(&database, 1_000);
        let (alice, bob) = (user_id!("@alice:own.lu"), user_id!("@bob:own.lu"));
        let peer = server_name!("peer.lu");
        tx.insert_local_media("hers", alice, &media(1, 10)).unwrap();
        tx.insert_local_media("both", alice, &media(2, 10)).unwrap();
        tx.insert_local_media("his", bob, &media(2, 10)).unwrap();
        tx.insert_remote_media(peer, "far", &media(1, 10)).unwrap();
        tx.insert_pending_media("soon", alice, 2_000, 5).unwrap();
        let nid = tx.user_nid(alice).unwrap().unwrap();
        tx.erase_media_of(nid).unwrap();
        assert_eq!(tx.local_media("hers").unwrap(), None);
        assert_eq!(tx.pending_media("soon").unwrap(), None);
        while tx.continue_media_erasure().unwrap() {}
        assert!(tx.media_of(nid, "", 9).unwrap().is_empty());
        assert!(tx.local_media("his").unwrap().is_some());
        assert!(tx.remote_media(peer, "far").unwrap().is_some());
        assert!(tx.media_removals(9).unwrap().is_empty());
        assert_eq!(tx.local_media_bytes().unwrap(), 10);
    }
}
