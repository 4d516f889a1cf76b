//! Thumbnails, made when they are first asked for and kept beside the cache.
//!
//! Any size may be asked for, but only some are made: the wanted one is rounded up, so that what one image can cost has a
//! bound. [Spec](https://spec.matrix.org/v1.19/client-server-api/#thumbnails).

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use luxchat_federation::Turns;
use luxchat_store::{ContentHash, KeptMedia, MediaRow, ThumbnailKey};
use luxchat_thumbnailer::{self as thumbnailer, Made, Method, Thumbnailer, Wanted};
use quick_cache::sync::Cache;
use tracing::{debug, info, warn};

use crate::{Error, Found, Media, Result, media::Shared};

/// The sides that thumbnails have, in pixels: those of the spec's sizes and some for dense screens. What is wanted beyond
/// comes as large as the original.
const SIDES: &[u32] = &[
    32, 64, 96, 160, 240, 320, 480, 600, 640, 800, 1280, 1600, FULL_SIDE,
];

/// No image is larger.
const FULL_SIDE: u32 = 65_535;

/// The sizes that every server should have.
const SPEC_SIZES: [Wanted; 5] = [
    wanted(32, 32, Method::Crop),
    wanted(96, 96, Method::Crop),
    wanted(320, 240, Method::Scale),
    wanted(640, 480, Method::Scale),
    wanted(800, 600, Method::Scale),
];

/// An access within this time of the last one noted is not worth a write.
const ACCESS_PRECISION_MS: u64 = 10 * 60 * 1_000;

/// What part of the cache thumbnails may take.
const CACHE_SHARE: u64 = 4;

/// How many images that cannot be decoded are remembered, so that they are not tried again and again.
const REMEMBERED_FAILURES: usize = 10_000;

/// The bytes by which an image says whether it moves.
const HEAD: u64 = 32;

/// Makes thumbnails, one of each at a time.
#[derive(Debug)]
pub(crate) struct Thumbnails {
    pub(crate) thumbnailer: Thumbnailer,
    turns: Turns<ThumbnailKey>,
    failures: Cache<ContentHash, thumbnailer::Error>,
}

impl Thumbnails {
    pub(crate) fn new(config: thumbnailer::Config) -> Self {
        Self {
            thumbnailer: Thumbnailer::new(config),
            turns: Turns::default(),
            failures: Cache::new(REMEMBERED_FAILURES),
        }
    }
}

/// How thumbnails are made on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThumbnailerState {
    /// They are not: small images stand for themselves.
    Off,
    /// By processes that are confined so.
    Confined(thumbnailer::Confinement),
    /// They should be, and cannot.
    Failing(String),
}

impl Media {
    /// A thumbnail of a medium: `size` in the wanted shape or, where `animated` and it moves, the medium itself.
    ///
    /// # Errors
    ///
    /// [`Error::NoThumbnail`], [`Error::TooLarge`], [`Error::Thumbnailer`].
    pub async fn thumbnail(&self, original: Found, size: Wanted, animated: bool) -> Result<Found> {
        let Some(thumbnails) = &self.shared.thumbnails else {
            return self.as_thumbnail(original);
        };
        let limit = self.shared.config.max_thumbnail_bytes;
        if animated && original.is_image() && original.size() <= limit && moves(&original).await {
            return self.as_thumbnail(original);
        }
        let size = rounded(size);
        let key = key(&original, size);
        if let Some(found) = self.shared.kept_thumbnail(&original, &key).await? {
            return Ok(found);
        }
        if let Some(failure) = thumbnails.failures.get(&key.original) {
            return Err(failure.into());
        }
        let turn = thumbnails.turns.take(&key).await;
        if let Some(found) = self.shared.kept_thumbnail(&original, &key).await? {
            return Ok(found);
        }
        let shared = Arc::clone(&self.shared);
        // A task of its own, so that a client that gives up does not waste what has been done.
        let making = tokio::spawn(async move {
            let _turn = turn;
            shared.make_thumbnails(&original, &[size]).await?;
            // What is open can be read even if there is no room for it.
            let found = shared.kept_thumbnail(&original, &key).await?;
            shared.shrink_cache(shared.config.cache_bytes).await?;
            found.ok_or(Error::NotFound)
        });
        making.await.unwrap_or(Err(Error::NoThumbnail))
    }

    /// How thumbnails are made here; asks by starting a worker.
    pub async fn thumbnailer_state(&self) -> ThumbnailerState {
        let Some(thumbnails) = &self.shared.thumbnails else {
            return ThumbnailerState::Off;
        };
        match thumbnails.thumbnailer.check().await {
            Ok(confinement) => ThumbnailerState::Confined(confinement),
            Err(error) => ThumbnailerState::Failing(error.to_string()),
        }
    }

    /// Says in the log how the decoders of images are confined on this machine.
    pub async fn log_thumbnailer(&self) {
        use thumbnailer::Landlock;
        match self.thumbnailer_state().await {
            ThumbnailerState::Off => info!("no thumbnails are made"),
            ThumbnailerState::Confined(confinement) => match confinement.landlock {
                Landlock::Full => info!("images are decoded under seccomp and landlock"),
                Landlock::Partial => warn!(
                    "images are decoded under seccomp, and a landlock that does not know all it should: \
                     the kernel is old"
                ),
                Landlock::Missing => {
                    warn!("images are decoded under seccomp alone: the kernel has no landlock");
                }
            },
            ThumbnailerState::Failing(why) => warn!(why, "thumbnails cannot be made"),
        }
    }

    /// Makes the spec's sizes of an upload, if the site wants that and it is an image. Nobody waits for it: where it does
    /// not work out, it is done when a thumbnail is asked for.
    pub(crate) fn premake(&self, media_id: &str) {
        if !self.shared.config.premade_thumbnails || self.shared.thumbnails.is_none() {
            return;
        }
        let (media, media_id) = (self.clone(), media_id.to_owned());
        tokio::spawn(async move {
            let made = async {
                let original = media.local(&media_id, std::time::Duration::ZERO).await?;
                if !original.is_image() {
                    return Ok(());
                }
                let shared = &media.shared;
                shared.make_thumbnails(&original, &SPEC_SIZES).await?;
                shared.shrink_cache(shared.config.cache_bytes).await
            };
            if let Err(error) = made.await {
                debug!(%error, "no thumbnails of an upload are made in advance");
            }
        });
    }
}

impl Shared {
    /// A thumbnail that is at hand.
    async fn kept_thumbnail(&self, original: &Found, key: &ThumbnailKey) -> Result<Option<Found>> {
        let key = *key;
        let opening = self.contents.read().await;
        let row: luxchat_store::Result<_> = self.store.read(move |tx| tx.thumbnail(&key)).await;
        let Some((mut row, access_ts)) = row? else {
            return Ok(None);
        };
        row.file_name = Some(file_name(&row).to_owned());
        let kept = KeptMedia {
            media: row,
            since_ts: original.since_ts(),
            // The box made it itself, of an original that it hands out.
            is_scanned: true,
            is_quarantined: false,
        };
        let found = self.open(kept).await?;
        drop(opening);
        if found.is_some() && self.store.clock().now_ms() >= access_ts + ACCESS_PRECISION_MS {
            self.store.write(move |tx| tx.touch_thumbnail(&key)).await?;
        }
        Ok(found)
    }

    /// Makes thumbnails of one image and keeps them.
    async fn make_thumbnails(&self, original: &Found, sizes: &[Wanted]) -> Result<()> {
        let thumbnails = self.thumbnails.as_ref().ok_or(Error::NoThumbnail)?;
        let length = original.size();
        let made = thumbnails
            .thumbnailer
            .make(original.read(0, length), length, sizes)
            .await;
        let made = made.inspect_err(|error| {
            use thumbnailer::Error as E;
            // Whatever it was, it is the image's fault.
            if matches!(error, E::Image(_) | E::Died(_) | E::TooSlow(_)) {
                thumbnails
                    .failures
                    .insert(original.row().sha256, error.clone());
            }
        })?;
        for (size, made) in sizes.iter().zip(made) {
            if let Made::Thumbnail(picture) = &made {
                self.make_room(picture.bytes.len() as u64).await?;
            }
            self.keep_thumbnail(original, key(original, *size), made)
                .await?;
        }
        Ok(())
    }

    async fn keep_thumbnail(&self, original: &Found, key: ThumbnailKey, made: Made) -> Result<()> {
        let adding = self.contents.read().await;
        let row = match made {
            Made::Original(kind) => MediaRow {
                content_type: Some(kind.media_type().to_owned()),
                file_name: None,
                ..original.row().clone()
            },
            Made::Thumbnail(picture) => {
                let mut scratch = self.folder.scratch(u64::MAX);
                scratch.write(&picture.bytes).await?;
                let written = scratch.finish().await?;
                let row = MediaRow {
                    sha256: written.sha256,
                    size: written.size,
                    content_type: Some(picture.kind.media_type().to_owned()),
                    file_name: None,
                };
                self.folder.place(written).await?;
                row
            }
        };
        let sha256 = row.sha256;
        let noted: luxchat_store::Result<bool> = self
            .store
            .write(move |tx| tx.insert_thumbnail(&key, &row))
            .await;
        drop(adding);
        if !matches!(noted, Ok(true)) {
            self.remove_if_orphan(sha256).await?;
        }
        if noted? { Ok(()) } else { Err(Error::NotFound) }
    }

    /// Brings thumbnails under their share of the cache.
    pub(crate) async fn shrink_thumbnails(&self, cache_bytes: u64) -> Result<u64> {
        let share = cache_bytes / CACHE_SHARE;
        if self.repeat(move |tx| tx.evict_thumbnails(share)).await? > 0 {
            self.remove_files().await?;
        }
        let bytes: luxchat_store::Result<u64> = self.store.read(|tx| tx.thumbnail_bytes()).await;
        Ok(bytes?)
    }
}

/// Whether an image has several pictures.
async fn moves(image: &Found) -> bool {
    let head = image.read(0, image.size().min(HEAD));
    let head = head.filter_map(async |bytes| bytes.ok());
    let head: Vec<u8> = head.map(stream::iter).flatten().collect().await;
    // An extended WebP says so; most GIFs do move, and few PNGs.
    let is_moving_webp =
        head.get(8..16) == Some(b"WEBPVP8X") && head.get(20).is_some_and(|flags| flags & 2 > 0);
    head.starts_with(b"GIF8") || is_moving_webp
}

fn key(original: &Found, size: Wanted) -> ThumbnailKey {
    ThumbnailKey {
        original: original.row().sha256,
        width: size.width,
        height: size.height,
        is_crop: size.method == Method::Crop,
    }
}

fn file_name(thumbnail: &MediaRow) -> &'static str {
    match thumbnail.content_type.as_deref() {
        Some("image/png") => "thumbnail.png",
        Some("image/webp") => "thumbnail.webp",
        _ => "thumbnail.jpg",
    }
}

/// The next larger size that is made.
fn rounded(size: Wanted) -> Wanted {
    let up = |side| SIDES.iter().copied().find(|made| *made >= side);
    wanted(
        up(size.width).unwrap_or(FULL_SIDE),
        up(size.height).unwrap_or(FULL_SIDE),
        size.method,
    )
}

const fn wanted(width: u32, height: u32, method: Method) -> Wanted {
    Wanted {
        width,
        height,
        method,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_those_that_are_made() {
        use Method::{Crop, Scale};
        for (asked, made) in [
            (wanted(0, 1, Crop), wanted(32, 32, Crop)),
            (wanted(48, 48, Crop), wanted(64, 64, Crop)),
            (wanted(500, 200, Scale), wanted(600, 240, Scale)),
            (
                wanted(5000, u32::MAX, Scale),
                wanted(FULL_SIDE, FULL_SIDE, Scale),
            ),
        ] {
            assert_eq!(rounded(asked), made);
        }
        for size in SPEC_SIZES {
            assert_eq!(rounded(size), size);
        }
    }
}
