//! What keeps the folder and the store small and in step.

use std::collections::HashSet;

use luxchat_store::WriteTx;
use tracing::{info, warn};

use crate::{Media, Result, ScannerState, folder::hex, media::Shared, pending::milliseconds};

/// Files removed at a time: meanwhile no content is opened.
const REMOVED_AT_ONCE: u32 = 200;

/// How much there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What users uploaded, in bytes. What two uploaded counts twice.
    pub local_bytes: u64,
    /// The cache of other servers' media and of thumbnails, in bytes.
    pub cache_bytes: u64,
    /// How many contents are in quarantine.
    pub quarantined: u64,
    /// How it stands with the scanner.
    pub scanner: ScannerState,
}

impl Media {
    /// How much there is, and whether the scanner answers.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn usage(&self) -> luxchat_store::Result<Usage> {
        let scanner = match &self.shared.scanning {
            Some(scanning) => scanning.state().await,
            None => ScannerState::None,
        };
        self.shared
            .store
            .read(move |tx| {
                Ok(Usage {
                    local_bytes: tx.local_media_bytes()?,
                    cache_bytes: tx.remote_media_bytes()? + tx.thumbnail_bytes()?,
                    quarantined: tx.quarantined_count()?,
                    scanner,
                })
            })
            .await
    }

    /// Lets go of what has served its time: erased users' uploads, ids that nobody uploaded to, uploads beyond the
    /// retention time, what nobody looks at any more in the cache; and of the files of all these.
    ///
    /// # Errors
    ///
    /// When the store or the folder fails. What is left then is for the next time.
    pub async fn maintain(&self) -> Result<()> {
        let shared = &self.shared;
        let (config, now_ms) = (&shared.config, shared.store.clock().now_ms());
        let before = |time| now_ms.saturating_sub(milliseconds(time));
        shared
            .repeat(|tx| tx.continue_media_erasure().map(usize::from))
            .await?;
        // An upload that began in time may still end.
        let expired_ts = before(config.transfer_time);
        shared
            .store
            .write(move |tx| tx.expire_pending_media(expired_ts))
            .await?;
        if let Some(time) = config.retention {
            let before_ts = before(time);
            let deleted = shared
                .repeat(move |tx| tx.delete_local_media_before(before_ts))
                .await?;
            if deleted > 0 {
                info!(deleted, "uploads beyond the retention time are deleted");
            }
        }
        if let Some(time) = config.cache_time {
            let before_ts = before(time);
            shared
                .repeat(move |tx| tx.expire_remote_media(before_ts))
                .await?;
            shared
                .repeat(move |tx| tx.expire_thumbnails(before_ts))
                .await?;
        }
        shared.shrink_cache(config.cache_bytes).await?;
        shared.remove_files().await
    }

    /// Brings files and rows in step after whatever happened to them: files that no medium has are removed, and cached
    /// media whose files are gone are forgotten. Uploads whose files are gone stay, for a backup to bring back.
    ///
    /// # Errors
    ///
    /// When the store or the folder fails.
    pub async fn sweep(&self) -> Result<()> {
        let (mut removed, mut missing) = (0, 0);
        for first in 0..=u8::MAX {
            let swept = self.shared.sweep(first).await?;
            removed += swept.0;
            missing += swept.1;
        }
        if removed > 0 {
            info!(removed, "orphans are swept from the media folder");
        }
        if missing > 0 {
            warn!(
                missing,
                "files of uploads are missing from the media folder"
            );
        }
        self.shared.remove_files().await
    }
}

impl Shared {
    /// Sweeps the contents whose hashes begin with a byte. Returns how many files are removed and how many are missing.
    async fn sweep(&self, first: u8) -> Result<(usize, usize)> {
        let _removing = self.contents.write().await;
        let files: HashSet<_> = self.folder.contents(first).await?.into_iter().collect();
        let rows: luxchat_store::Result<Vec<_>> =
            self.store.read(move |tx| tx.media_contents(first)).await;
        let rows: HashSet<_> = rows?.into_iter().collect();
        let orphans: Vec<_> = files.difference(&rows).copied().collect();
        let removed = orphans.len();
        self.folder.remove(orphans).await?;
        let mut missing = 0;
        for &sha256 in rows.difference(&files) {
            self.repeat(move |tx| tx.forget_remote_content(&sha256))
                .await?;
            self.repeat(move |tx| tx.forget_thumbnail_content(&sha256))
                .await?;
            let is_left: luxchat_store::Result<bool> = self
                .store
                .read(move |tx| tx.has_media_content(&sha256))
                .await;
            if is_left? {
                warn!(content = hex(&sha256), "the file of an upload is missing");
                missing += 1;
            }
        }
        Ok((removed, missing))
    }

    /// Removes the files of the contents that no medium has any more.
    pub(crate) async fn remove_files(&self) -> Result<()> {
        loop {
            let _removing = self.contents.write().await;
            let removals: luxchat_store::Result<Vec<_>> = self
                .store
                .read(|tx| tx.media_removals(REMOVED_AT_ONCE))
                .await;
            let removals = removals?;
            if removals.is_empty() {
                return Ok(());
            }
            self.folder.remove(removals.clone()).await?;
            self.store
                .write(move |tx| tx.finish_media_removals(&removals))
                .await?;
        }
    }

    /// Writes in small turns until there is nothing left to do, and returns how much was done.
    pub(crate) async fn repeat(
        &self,
        turn: impl Fn(&mut WriteTx<'_>) -> luxchat_store::Result<usize> + Clone + Send + 'static,
    ) -> Result<usize> {
        let mut all = 0;
        loop {
            let turn = turn.clone();
            let done = self.store.write(move |tx| turn(tx)).await?;
            if done == 0 {
                return Ok(all);
            }
            all += done;
        }
    }
}
