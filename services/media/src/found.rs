use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use luxchat_store::MediaRow;
use ruma::http_headers::{ContentDisposition, ContentDispositionType};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};

use crate::folder::hex;

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
    row: MediaRow,
    file: File,
}

impl Found {
    pub(crate) fn new(row: MediaRow, file: File) -> Self {
        Self { row, file }
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.row.size
    }

    /// Its media type, as its sender gave it.
    pub fn content_type(&self) -> &str {
        self.row.content_type.as_deref().unwrap_or(UNKNOWN_TYPE)
    }

    /// An HTTP entity tag: the hash of the content, in quotes.
    pub fn entity_tag(&self) -> String {
        format!("\"{}\"", hex(&self.row.sha256))
    }

    /// How browsers may treat it, and the name to save it by: `file_name`, else the one that its sender gave.
    pub fn disposition(&self, file_name: Option<String>) -> ContentDisposition {
        let disposition = if INLINE.contains(&self.essence().as_str()) {
            ContentDispositionType::Inline
        } else {
            ContentDispositionType::Attachment
        };
        ContentDisposition::new(disposition)
            .with_filename(file_name.or_else(|| self.row.file_name.clone()))
    }

    /// Its bytes from `start` on, `length` of them.
    pub async fn read(
        self,
        start: u64,
        length: u64,
    ) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
        let mut file = self.file;
        file.seek(io::SeekFrom::Start(start)).await?;
        Ok(stream::try_unfold(
            (file, length),
            |(mut file, left)| async move {
                if left == 0 {
                    return Ok(None);
                }
                let mut chunk = BytesMut::with_capacity(CHUNK);
                if (&mut file).take(left).read_buf(&mut chunk).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let left = left - chunk.len() as u64;
                Ok(Some((chunk.freeze(), (file, left))))
            },
        ))
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
