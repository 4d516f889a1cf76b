use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::HeaderValue;
use luxchat_federation::{Federation, Turns};
use luxchat_store::{ContentHash, MediaRow, Store};
use ruma::{OwnedServerName, OwnedUserId, ServerName};
use tokio::{
    sync::{RwLock, Semaphore},
    time::timeout,
};
use tracing::{info, warn};

use crate::{
    Config, Error, Found, Result,
    folder::{Folder, hex},
    scratch::Written,
};

/// An access within this time of the last one noted is not worth a write.
const ACCESS_PRECISION_MS: u64 = 10 * 60 * 1_000;

/// What part of the fetches one peer may take: one that sends byte by byte keeps its place for long.
const SHARE: usize = 4;

/// The longest media type and file name that are kept, in bytes.
const MAX_NAME: usize = 255;

/// The media of this server, and its cache of others'. Clones share them.
#[derive(Clone, Debug)]
pub struct Media {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) federation: Federation,
    pub(crate) config: Config,
    pub(crate) folder: Folder,
    /// Rows and files change together: whoever adds or opens a content reads, whoever removes one writes.
    contents: RwLock<()>,
    /// One fetch of each medium at a time.
    pub(crate) fetches: Turns<String>,
    pub(crate) places: Semaphore,
    /// What one peer may take of the places: more of its media wait for those before them.
    pub(crate) lanes: Turns<(OwnedServerName, usize)>,
    pub(crate) lanes_each: usize,
}

/// What somebody uploads, beside its bytes.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Who uploads. A user of this server.
    pub user: OwnedUserId,
    /// Its media type, as they say.
    pub content_type: Option<String>,
    /// Its name, as they say.
    pub file_name: Option<String>,
    /// How many bytes are announced, if any are.
    pub length: Option<u64>,
}

impl Media {
    /// Opens the media folder.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn open(store: Store, federation: Federation, config: Config) -> Result<Self> {
        let folder = Folder::open(&config.folder)?;
        let share = config.parallel_fetches / SHARE;
        let places = Semaphore::new(config.parallel_fetches.clamp(1, Semaphore::MAX_PERMITS));
        Ok(Self {
            shared: Arc::new(Shared {
                store,
                federation,
                config,
                folder,
                contents: RwLock::default(),
                fetches: Turns::default(),
                places,
                lanes: Turns::default(),
                lanes_each: share.max(1),
            }),
        })
    }

    /// The largest upload, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.shared.config.max_bytes
    }

    /// Stores an upload, on disk when this returns, and returns its media id.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], [`Error::QuotaExceeded`], [`Error::DiskFull`] (the first two before the bytes are read, where
    /// their number is announced), [`Error::TooSlow`] and [`Error::BrokenOff`].
    pub async fn upload<E: std::fmt::Display>(
        &self,
        upload: Upload,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<String> {
        let shared = &self.shared;
        let announced = upload.length.unwrap_or_default();
        if announced > shared.config.max_bytes {
            return Err(Error::TooLarge(shared.config.max_bytes));
        }
        let user = upload.user.clone();
        self.check_quota(&upload, announced).await?;
        shared.check_disk(announced)?;

        let body = body.map_err(|error| Error::BrokenOff(error.to_string()));
        let receive = shared.receive(body, Error::TooSlow);
        let content = timeout(shared.config.transfer_time, receive)
            .await
            .unwrap_or(Err(Error::TooSlow))?;
        self.check_quota(&upload, content.size).await?;

        let row = MediaRow {
            sha256: content.sha256,
            size: content.size,
            content_type: content_type(upload.content_type),
            file_name: upload.file_name.and_then(file_name),
        };
        let media_id = format!("{:032x}", rand::random::<u128>());
        let _adding = shared.contents.read().await;
        shared.folder.place(content).await?;
        let id = media_id.clone();
        shared
            .store
            .write(move |tx| tx.insert_local_media(&id, &user, &row))
            .await?;
        Ok(media_id)
    }

    /// What a local user uploaded.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn local(&self, media_id: &str) -> Result<Found> {
        let shared = &self.shared;
        let _opening = shared.contents.read().await;
        let id = media_id.to_owned();
        let row = shared.store.read(move |tx| tx.local_media(&id)).await?;
        let row = row.map(|kept| kept.media);
        shared.open(row).await?.ok_or(Error::NotFound)
    }

    /// A medium of any server. Another's is fetched where it is not at hand; everybody who asks meanwhile waits for the
    /// one fetch, each for at most `patience`, and it goes on when nobody waits any more.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotYet`], or why it cannot be fetched.
    pub async fn get(
        &self,
        server: &ServerName,
        media_id: &str,
        patience: Duration,
    ) -> Result<Found> {
        if !is_media_id(media_id) {
            return Err(Error::NotFound);
        }
        if server == self.shared.store.server_name() {
            return self.local(media_id).await;
        }
        if let Some(found) = self.shared.cached(server, media_id).await? {
            return Ok(found);
        }
        timeout(patience, self.fetch(server, media_id))
            .await
            .unwrap_or(Err(Error::NotYet))
    }

    /// The original in place of a thumbnail, if it is an image that is small enough.
    ///
    /// # Errors
    ///
    /// [`Error::NoThumbnail`], [`Error::TooLarge`].
    pub fn as_thumbnail(&self, found: Found) -> Result<Found> {
        let limit = self.shared.config.max_thumbnail_bytes;
        if !found.is_image() {
            return Err(Error::NoThumbnail);
        }
        if found.size() > limit {
            return Err(Error::TooLarge(limit));
        }
        Ok(found)
    }

    /// Removes the files that no medium has: what a crash left between a file and its row.
    pub async fn sweep(&self) -> Result<()> {
        let mut removed = 0;
        for first in 0..=u8::MAX {
            for sha256 in self.shared.folder.contents(first).await? {
                removed += usize::from(self.shared.remove_if_orphan(sha256).await?);
            }
        }
        if removed > 0 {
            info!(removed, "orphans are swept from the media folder");
        }
        Ok(())
    }

    async fn check_quota(&self, upload: &Upload, size: u64) -> Result<()> {
        let Some(quota) = self.shared.config.user_quota_bytes else {
            return Ok(());
        };
        let user = upload.user.clone();
        let uploaded = self.shared.store.read(move |tx| tx.uploaded_bytes(&user));
        let uploaded: luxchat_store::Result<u64> = uploaded.await;
        if uploaded?.saturating_add(size) > quota {
            return Err(Error::QuotaExceeded(quota));
        }
        Ok(())
    }
}

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
        let Some((row, access_ts)) = row? else {
            return Ok(None);
        };
        let found = self.open(Some(row.media)).await?;
        drop(opening);
        if found.is_some() && self.store.clock().now_ms() >= access_ts + ACCESS_PRECISION_MS {
            self.store
                .write(move |tx| tx.touch_remote_media(&server, &id))
                .await?;
        }
        Ok(found)
    }

    /// Takes a fetched medium into the cache, and makes room for it.
    pub(crate) async fn keep(
        &self,
        server: &ServerName,
        media_id: &str,
        content: Written,
        row: MediaRow,
    ) -> Result<Found> {
        let adding = self.contents.read().await;
        self.folder.place(content).await?;
        let (server, id, kept) = (server.to_owned(), media_id.to_owned(), row.clone());
        self.store
            .write(move |tx| tx.insert_remote_media(&server, &id, &kept))
            .await?;
        let found = self.open(Some(row)).await?.ok_or(Error::NotFound)?;
        drop(adding);
        self.evict().await?;
        Ok(found)
    }

    /// Brings the cache under its cap.
    async fn evict(&self) -> Result<()> {
        let cap = self.config.cache_bytes;
        let size: luxchat_store::Result<u64> = self.store.read(|tx| tx.remote_media_bytes()).await;
        if size? <= cap {
            return Ok(());
        }
        let _removing = self.contents.write().await;
        loop {
            let evicted: luxchat_store::Result<_> =
                self.store.write(move |tx| tx.evict_remote_media(cap)).await;
            let removals: luxchat_store::Result<_> =
                self.store.read(|tx| tx.media_removals(1_000)).await;
            self.folder.remove(removals?).await?;
            if evicted? == 0 {
                return Ok(());
            }
        }
    }

    async fn remove_if_orphan(&self, sha256: ContentHash) -> Result<bool> {
        let _removing = self.contents.write().await;
        let has_row: luxchat_store::Result<bool> = self
            .store
            .read(move |tx| Ok(tx.media_contents(sha256[0])?.contains(&sha256)))
            .await;
        if has_row? {
            return Ok(false);
        }
        self.folder.remove(vec![sha256]).await?;
        Ok(true)
    }

    /// Opens the content of a row. One whose file is gone is not found, and whoever runs the box should know.
    async fn open(&self, row: Option<MediaRow>) -> Result<Option<Found>> {
        let Some(row) = row else {
            return Ok(None);
        };
        let file = self.folder.open_content(&row.sha256).await?;
        if file.is_none() {
            warn!(
                content = hex(&row.sha256),
                "a file is missing from the media folder"
            );
        }
        Ok(file.map(|file| Found::new(row, file)))
    }

    /// Writes a stream to disk; `too_slow` is what it fails with when the next bytes do not come in time.
    pub(crate) async fn receive(
        &self,
        body: impl Stream<Item = Result<Bytes>>,
        too_slow: Error,
    ) -> Result<Written> {
        let mut body = std::pin::pin!(body);
        let mut scratch = self.folder.scratch(self.config.max_bytes).await?;
        while let Some(bytes) = timeout(self.config.stall_time, body.next())
            .await
            .map_err(|_| too_slow.clone())?
        {
            scratch.write(&bytes?).await?;
        }
        scratch.finish().await
    }

    /// Makes sure that `size` more bytes leave the disk as free as the site wants it.
    pub(crate) fn check_disk(&self, size: u64) -> Result<()> {
        let wanted = self.config.free_bytes.saturating_add(size);
        if self.folder.free_bytes()? < wanted {
            return Err(Error::DiskFull);
        }
        Ok(())
    }
}

/// A media type as it may stand in a header; `None` for what may not.
pub(crate) fn content_type(given: Option<String>) -> Option<String> {
    given.filter(|given| {
        let is_visible = HeaderValue::from_str(given).is_ok_and(|value| value.to_str().is_ok());
        is_visible && given.contains('/') && given.len() <= MAX_NAME
    })
}

/// A file name without what a name should not have.
pub(crate) fn file_name(given: String) -> Option<String> {
    let mut name: String = given.chars().filter(|char| !char.is_control()).collect();
    name.truncate(name.floor_char_boundary(MAX_NAME));
    (!name.is_empty()).then_some(name)
}

/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#matrix-content-mxc-uris).
fn is_media_id(id: &str) -> bool {
    (1..=MAX_NAME).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
