use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::HeaderValue;
use luxchat_federation::{Federation, Turns};
use luxchat_store::{ContentHash, KeptMedia, MediaRow, Store};
use ruma::{OwnedServerName, OwnedUserId, ServerName};
use tokio::{
    sync::{Mutex, RwLock, Semaphore},
    time::timeout,
};
use tracing::warn;

use crate::{
    Config, Error, Found, Result,
    folder::{Folder, hex},
    pending::Arrivals,
    scan::Scanning,
    scratch::Written,
    thumbnails::Thumbnails,
};

/// What part of the fetches one peer may take: one that sends byte by byte keeps its place for long.
const SHARE: usize = 4;

/// After how many bytes of a content the disk is looked at again.
const CHECKED_BYTES: usize = 4 * 1024 * 1024;

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
    /// Rows and files change together: whoever adds or opens a content reads, whoever removes a file writes.
    pub(crate) contents: RwLock<()>,
    /// Held while a medium enters the cache.
    pub(crate) entering: Mutex<()>,
    /// Ids whose content has come.
    pub(crate) arrivals: Arrivals,
    /// One fetch of each medium at a time.
    pub(crate) fetches: Turns<String>,
    pub(crate) places: Semaphore,
    /// What one peer may take of the places: more of its media wait for those before them.
    pub(crate) lanes: Turns<(OwnedServerName, usize)>,
    pub(crate) lanes_each: usize,
    pub(crate) scanning: Option<Scanning>,
    pub(crate) thumbnails: Option<Thumbnails>,
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
        let scanning = config.scanner.clone().map(Scanning::new);
        let thumbnails = config.thumbnailer.clone().map(Thumbnails::new);
        Ok(Self {
            shared: Arc::new(Shared {
                store,
                federation,
                config,
                folder,
                contents: RwLock::default(),
                entering: Mutex::default(),
                arrivals: Arrivals::default(),
                fetches: Turns::default(),
                places,
                lanes: Turns::default(),
                lanes_each: share.max(1),
                scanning,
                thumbnails,
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
    /// [`Error::TooLarge`], [`Error::QuotaExceeded`], [`Error::SiteQuotaExceeded`], [`Error::DiskFull`] (before the bytes are
    /// read, where their number is announced), [`Error::NotAllowed`], [`Error::TooSlow`] and [`Error::BrokenOff`].
    pub async fn upload<E: std::fmt::Display>(
        &self,
        upload: Upload,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<String> {
        let media_id = new_media_id();
        self.shared.take_in(&media_id, false, upload, body).await?;
        self.premake(&media_id);
        Ok(media_id)
    }

    /// What a local user uploaded. One that is still to be uploaded is waited for.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotYet`], [`Error::Quarantined`], [`Error::NotScanned`].
    pub async fn local(&self, media_id: &str, patience: Duration) -> Result<Found> {
        if !is_media_id(media_id) {
            return Err(Error::NotFound);
        }
        let shared = &self.shared;
        let found = if let Some(found) = shared.open_local(media_id).await? {
            found
        } else {
            shared.await_upload(media_id, patience).await?;
            let found = shared.open_local(media_id).await?;
            found.ok_or(Error::NotFound)?
        };
        shared.release(found).await
    }

    /// A medium of any server. Another's is fetched where it is not at hand; everybody who asks meanwhile waits for the
    /// one fetch, each for at most `patience`, and it goes on when nobody waits any more.
    ///
    /// # Errors
    ///
    /// As [`Media::local`], or why it cannot be fetched.
    pub async fn get(
        &self,
        server: &ServerName,
        media_id: &str,
        patience: Duration,
    ) -> Result<Found> {
        if server == self.shared.store.server_name() {
            return self.local(media_id, patience).await;
        }
        if !is_media_id(media_id) {
            return Err(Error::NotFound);
        }
        let found = match self.shared.cached(server, media_id).await? {
            Some(found) => found,
            None => timeout(patience, self.fetch(server, media_id, patience))
                .await
                .unwrap_or(Err(Error::NotYet))?,
        };
        self.shared.release(found).await
    }

    /// A medium for a client without a token: one of before the time when the site stopped that.
    ///
    /// With `may_fetch`, another server's is fetched where it is not at hand.
    ///
    /// # Errors
    ///
    /// As [`Media::get`].
    pub async fn get_unauthenticated(
        &self,
        server: &ServerName,
        media_id: &str,
        patience: Duration,
        may_fetch: bool,
    ) -> Result<Found> {
        let shared = &self.shared;
        let Some(until) = shared.config.unauthenticated_until else {
            return Err(Error::NotFound);
        };
        let is_local = server == shared.store.server_name();
        let would_be_late = shared.store.clock().now_ms() >= until;
        let found = if is_local || (may_fetch && !would_be_late) {
            self.get(server, media_id, patience).await?
        } else {
            let found = shared.cached(server, media_id).await?;
            shared.release(found.ok_or(Error::NotFound)?).await?
        };
        if found.since_ts() >= until {
            return Err(Error::NotFound);
        }
        Ok(found)
    }

    /// The original in place of a thumbnail, if it is an image that is small enough.
    ///
    /// # Errors
    ///
    /// [`Error::NoThumbnail`], [`Error::TooLarge`].
    pub(crate) fn as_thumbnail(&self, found: Found) -> Result<Found> {
        let limit = self.shared.config.max_thumbnail_bytes;
        if !found.is_image() {
            return Err(Error::NoThumbnail);
        }
        if found.size() > limit {
            return Err(Error::TooLarge(limit));
        }
        Ok(found)
    }
}

impl Shared {
    /// Stores an upload under an id; with `is_pending`, one that was given out before.
    pub(crate) async fn take_in<E: std::fmt::Display>(
        &self,
        media_id: &str,
        is_pending: bool,
        upload: Upload,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<()> {
        let announced = upload.length.unwrap_or_default();
        if announced > self.config.max_bytes {
            return Err(Error::TooLarge(self.config.max_bytes));
        }
        let quotas = self.quotas();
        let user = upload.user.clone();
        self.store
            .read(move |tx| quotas.check(tx, &user, announced))
            .await?;
        self.make_room(announced).await?;

        let body = body.map_err(|error| Error::BrokenOff(error.to_string()));
        let receive = self.receive(body, Error::TooSlow);
        let content = timeout(self.config.transfer_time, receive)
            .await
            .unwrap_or(Err(Error::TooSlow))?;
        let row = MediaRow {
            sha256: content.sha256,
            size: content.size,
            content_type: content_type(upload.content_type),
            file_name: upload.file_name.and_then(file_name),
        };
        let (sha256, user, id) = (content.sha256, upload.user, media_id.to_owned());
        let adding = self.contents.read().await;
        self.folder.place(content).await?;
        let noted = self.store.write(move |tx| {
            if tx.is_quarantined(&row.sha256)? {
                return Err(Error::NotAllowed);
            }
            quotas.check(tx, &user, row.size)?;
            if is_pending && !tx.take_pending_media(&id)? {
                return Err(Error::AlreadyUploaded);
            }
            Ok(tx.insert_local_media(&id, &user, &row)?)
        });
        let noted = noted.await;
        drop(adding);
        if noted.is_err() {
            self.remove_if_orphan(sha256).await?;
        }
        noted
    }

    async fn open_local(&self, media_id: &str) -> Result<Option<Found>> {
        let _opening = self.contents.read().await;
        let id = media_id.to_owned();
        let kept: luxchat_store::Result<_> = self.store.read(move |tx| tx.local_media(&id)).await;
        match kept? {
            Some(kept) => self.open(kept).await,
            None => Ok(None),
        }
    }

    /// Opens a medium. `None` where its file is gone: whoever runs the box should know. The caller holds `contents`.
    pub(crate) async fn open(&self, kept: KeptMedia) -> Result<Option<Found>> {
        let file = self.folder.open_content(&kept.media.sha256).await?;
        if file.is_none() {
            warn!(
                content = hex(&kept.media.sha256),
                "a file is missing from the media folder"
            );
        }
        Ok(file.map(|file| Found::new(kept, file)))
    }

    /// Lets a medium out of the house: not one in quarantine, nor one that a scanner has still to see.
    pub(crate) async fn release(&self, found: Found) -> Result<Found> {
        if found.is_quarantined() {
            return Err(Error::Quarantined);
        }
        if let Some(scanning) = &self.scanning
            && !found.is_scanned()
        {
            scanning.check(&self.store, &found).await?;
        }
        Ok(found)
    }

    /// Removes the file of a content that no medium has. Returns whether there is none.
    pub(crate) async fn remove_if_orphan(&self, sha256: ContentHash) -> Result<bool> {
        let _removing = self.contents.write().await;
        let has_row: luxchat_store::Result<bool> = self
            .store
            .read(move |tx| tx.has_media_content(&sha256))
            .await;
        if has_row? {
            return Ok(false);
        }
        self.folder.remove(vec![sha256]).await?;
        Ok(true)
    }

    /// Writes a stream to disk; `too_slow` is what it fails with when the next bytes do not come in time.
    pub(crate) async fn receive(
        &self,
        body: impl Stream<Item = Result<Bytes>>,
        too_slow: Error,
    ) -> Result<Written> {
        let mut body = std::pin::pin!(body);
        let mut scratch = self.folder.scratch(self.config.max_bytes);
        let mut unchecked = 0;
        while let Some(bytes) = timeout(self.config.stall_time, body.next())
            .await
            .map_err(|_| too_slow.clone())?
        {
            let bytes = bytes?;
            scratch.write(&bytes).await?;
            // Others write at the same time, and not everybody has announced how much.
            unchecked += bytes.len();
            if unchecked >= CHECKED_BYTES {
                unchecked = 0;
                if self.folder.free_bytes()? < self.config.free_bytes {
                    return Err(Error::DiskFull);
                }
            }
        }
        scratch.finish().await
    }
}

/// An id that nobody guesses.
pub(crate) fn new_media_id() -> String {
    format!("{:032x}", rand::random::<u128>())
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
pub(crate) fn is_media_id(id: &str) -> bool {
    (1..=MAX_NAME).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
