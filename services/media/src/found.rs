use std::{
    fs::File,
    io::{self, IoSliceMut},
    mem,
    os::unix::fs::FileExt,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use luxchat_store::{KeptMedia, MediaRow};
use ruma::http_headers::{ContentDisposition, ContentDispositionType};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

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
        let reading = Reading {
            file: Arc::clone(&self.file),
            at: start,
            left: length,
            last: Bytes::new(),
        };
        stream::try_unfold(reading, async |mut reading| {
            let chunk = reading.next().await?;
            Ok(chunk.map(|chunk| (chunk, reading)))
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

/// A file that is read bit by bit.
struct Reading {
    file: Arc<File>,
    at: u64,
    left: u64,
    /// What was read last. Once nobody else has it any more, the next bytes are read into its place, which the CPU has at
    /// hand.
    last: Bytes,
}

impl Reading {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let length = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
        if length == 0 {
            return Ok(None);
        }
        let mut chunk = match mem::take(&mut self.last).try_into_mut() {
            Ok(chunk) if chunk.len() >= length => chunk,
            _ => BytesMut::zeroed(length),
        };
        chunk.truncate(length);
        let read = match read_cached(&self.file, &mut chunk, self.at) {
            Ok(read) => read,
            // It is not all in memory, or the file system cannot tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP) => {
                let (file, at) = (Arc::clone(&self.file), self.at);
                let read = blocking(move || Ok((file.read_at(&mut chunk, at)?, chunk))).await?;
                chunk = read.1;
                read.0
            }
            Err(error) => return Err(error.into()),
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        chunk.truncate(read);
        self.at += read as u64;
        self.left -= read as u64;
        self.last = chunk.freeze();
        Ok(Some(self.last.clone()))
    }
}

/// Reads what is in memory, without waiting for the disk.
fn read_cached(file: &File, bytes: &mut [u8], at: u64) -> Result<usize, Errno> {
    preadv2(
        file,
        &mut [IoSliceMut::new(bytes)],
        at,
        ReadWriteFlags::NOWAIT,
    )
}
