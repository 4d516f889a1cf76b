use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, stream};
use luxchat_store::{KeptMedia, MediaRow};
use ruma::http_headers::{ContentDisposition, ContentDispositionType};

use crate::folder::{blocking, hex};

/// How many bytes are read at a time.
const CHUNK: usize = 64 * 1024;

/// The media type of what has none.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// The types that browsers may show where they stand. Others are only saved.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#serving-inline-content).
const INLINE: &[&str] = &[
    "text/css",
    "text/plain",
    "text/csv",
    "application/json",
    "application/ld+json",
    "image/jpeg",
    "image/gif",
    "image/png",
    "image/apng",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "video/quicktime",
    "audio/mp4",
    "audio/webm",
    "audio/aac",
    "audio/mpeg",
    "audio/ogg",
    "audio/wave",
    "audio/wav",
    "audio/x-wav",
    "audio/x-pn-wav",
    "audio/flac",
    "audio/x-flac",
];

/// A medium that is at hand. It can be read to its end even if it is evicted meanwhile.
#[derive(Debug)]
pub struct Found {
    kept: KeptMedia,
    file: Arc<File>,
}

impl Found {
    pub(crate) fn new(kept: KeptMedia, file: Arc<File>) -> Self {
        Self { kept, file }
    }

    /// What it is.
    pub(crate) fn row(&self) -> &MediaRow {
        &self.kept.media
    }

    /// When it was uploaded or fetched, in milliseconds since the Unix epoch.
    pub(crate) fn since_ts(&self) -> u64 {
        self.kept.since_ts
    }

    pub(crate) fn is_scanned(&self) -> bool {
        self.kept.is_scanned
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        self.kept.is_quarantined
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.row().size
    }

    /// Its media type, as its sender gave it.
    pub fn content_type(&self) -> &str {
        self.row().content_type.as_deref().unwrap_or(UNKNOWN_TYPE)
    }

    /// An HTTP entity tag: the hash of the content, in quotes.
    pub fn entity_tag(&self) -> String {
        format!("\"{}\"", hex(&self.row().sha256))
    }

    /// How browsers may treat it, and the name to save it by: `file_name`, else the one that its sender gave.
    pub fn disposition(&self, file_name: Option<String>) -> ContentDisposition {
        let disposition = if INLINE.contains(&self.essence().as_str()) {
            ContentDispositionType::Inline
        } else {
            ContentDispositionType::Attachment
        };
        ContentDisposition::new(disposition)
            .with_filename(file_name.or_else(|| self.row().file_name.clone()))
    }

    /// Its bytes from `start` on, `length` of them.
    pub fn read(
        &self,
        start: u64,
        length: u64,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let file = Arc::clone(&self.file);
        stream::try_unfold((file, start, length), async |(file, at, left)| {
            if left == 0 {
                return Ok(None);
            }
            let chunk = read_chunk(Arc::clone(&file), at, left).await?;
            let length = chunk.len() as u64;
            Ok(Some((chunk, (file, at + length, left - length))))
        })
    }

    /// Whether it is an image that browsers show.
    pub(crate) fn is_image(&self) -> bool {
        let essence = self.essence();
        essence.starts_with("image/") && INLINE.contains(&essence.as_str())
    }

    /// The media type without parameters.
    fn essence(&self) -> String {
        let essence = self.content_type().split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    }
}

/// Some of the bytes from `at` on, at most `left`.
async fn read_chunk(file: Arc<File>, at: u64, left: u64) -> io::Result<Bytes> {
    blocking(move || {
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        let mut chunk = vec![0; length];
        let read = file.read_at(&mut chunk, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        chunk.truncate(read);
        Ok(Bytes::from(chunk))
    })
    .await
}
