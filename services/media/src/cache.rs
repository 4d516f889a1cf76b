//! The cache of other servers' media.

use luxchat_store::{KeptMedia, MediaRow};
use ruma::ServerName;

use crate::{Error, Found, Result, media::Shared, scratch::Written};

/// An access within this time of the last one noted is not worth a write.
const ACCESS_PRECISION_MS: u64 = 10 * 60 * 1_000;

impl Shared {
    /// A medium of the cache.
    pub(crate) async fn cached(
        &self,
        server: &ServerName,
        media_id: &str,
    ) -> Result<Option<Found>> {
        let (server, id) = (server.to_owned(), media_id.to_owned());
        let opening = self.contents.read().await;
        let key = (server.clone(), id.clone());
        let row: luxchat_store::Result<_> = self
            .store
            .read(move |tx| tx.remote_media(&key.0, &key.1))
            .await;
        let Some((kept, access_ts)) = row? else {
            return Ok(None);
        };
        let found = self.open(kept).await?;
        drop(opening);
        if found.is_some() && self.store.clock().now_ms() >= access_ts + ACCESS_PRECISION_MS {
            self.store
                .write(move |tx| tx.touch_remote_media(&server, &id))
                .await?;
        }
        Ok(found)
    }

    /// Makes room for a fetched medium in the cache, and takes it in.
    pub(crate) async fn keep(
        &self,
        server: &ServerName,
        media_id: &str,
        content: Written,
        row: MediaRow,
    ) -> Result<Found> {
        let sha256 = content.sha256;
        let (server, id) = (server.to_owned(), media_id.to_owned());
        // One at a time, so that the room is still there when it is taken.
        let _entering = self.entering.lock().await;
        let cap = self.config.cache_bytes;
        self.shrink_cache(cap.saturating_sub(content.size)).await?;
        let adding = self.contents.read().await;
        self.folder.place(content).await?;
        let kept: Result<Option<(KeptMedia, u64)>> = self
            .store
            .write(move |tx| {
                tx.insert_remote_media(&server, &id, &row)?;
                Ok(tx.remote_media(&server, &id)?)
            })
            .await;
        let found = match kept {
            Ok(Some((kept, _))) => self.open(kept).await,
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        drop(adding);
        if found.is_err() {
            self.remove_if_orphan(sha256).await?;
        }
        let found = found?.ok_or(Error::NotFound)?;
        // It may be larger than the cache.
        self.shrink_cache(cap).await?;
        Ok(found)
    }

    /// Brings the cache, thumbnails and all, under a cap, in bytes.
    pub(crate) async fn shrink_cache(&self, cap: u64) -> Result<()> {
        let cap = cap.saturating_sub(self.shrink_thumbnails(cap).await?);
        let size: luxchat_store::Result<u64> = self.store.read(|tx| tx.remote_media_bytes()).await;
        if size? <= cap {
            return Ok(());
        }
        loop {
            let evicted: luxchat_store::Result<usize> =
                self.store.write(move |tx| tx.evict_remote_media(cap)).await;
            if evicted? == 0 {
                break;
            }
        }
        self.remove_files().await
    }
}
