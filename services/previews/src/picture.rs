//! Pictures of pages.

use bytes::Bytes;
use imagesize::{ImageSize, ImageType};

/// A picture as it was fetched: of a type that clients show, by its own first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// All of it.
    pub bytes: Bytes,
    /// Its media type.
    pub media_type: &'static str,
    /// In pixels, as its header says.
    pub width: usize,
    /// In pixels, as its header says.
    pub height: usize,
}

impl Picture {
    /// Bytes that begin like a picture. Nothing is decoded: only the header is looked at. What a server calls its bytes
    /// does not count.
    pub(crate) fn recognise(bytes: Bytes) -> Option<Self> {
        let media_type = match imagesize::image_type(&bytes).ok()? {
            ImageType::Gif => "image/gif",
            ImageType::Jpeg => "image/jpeg",
            ImageType::Png => "image/png",
            ImageType::Webp => "image/webp",
            _ => return None,
        };
        let ImageSize { width, height } = imagesize::blob_size(&bytes).ok()?;
        Some(Self {
            bytes,
            media_type,
            width,
            height,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::PNG;

    #[test]
    fn only_pictures_are_recognised() {
        let picture = Picture::recognise(Bytes::from_static(PNG)).unwrap();
        assert_eq!(picture.media_type, "image/png");
        assert_eq!((picture.width, picture.height), (3, 2));
        for other in [
            &b"<svg xmlns='http://www.w3.org/2000/svg'/>"[..],
            b"<html>",
            b"",
            b"\x89PNG\r\n\x1a\n",
        ] {
            assert_eq!(Picture::recognise(Bytes::from_static(other)), None);
        }
    }
}
