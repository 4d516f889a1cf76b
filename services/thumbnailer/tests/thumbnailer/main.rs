//! Thumbnails by workers in processes of their own, of good images and of hostile ones.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod good;
mod hostile;

use std::{
    io::Cursor,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, codecs::gif::GifEncoder};
use luxchat_thumbnailer::{Config, Made, Method, Picture, Result, Thumbnailer, Wanted};

/// A thumbnailer whose workers are this package's program.
fn thumbnailer() -> Thumbnailer {
    Thumbnailer::new(Config {
        // Machines of tests have other things to do as well.
        time: Duration::from_mins(1),
        ..Config::new(program())
    })
}

/// This package's program. Cargo names it to the running test; beside the test's own file it lies in any case.
fn program() -> PathBuf {
    let named = std::env::var_os("CARGO_BIN_EXE_luxchat-thumbnailer");
    named.map_or_else(beside_the_test, PathBuf::from)
}

fn beside_the_test() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    profile.join("luxchat-thumbnailer")
}

fn wanted(width: u32, height: u32, method: Method) -> Wanted {
    Wanted {
        width,
        height,
        method,
    }
}

async fn make(thumbnailer: &Thumbnailer, image: &[u8], wanted: &[Wanted]) -> Result<Vec<Made>> {
    let bytes = stream::iter([Ok(Bytes::copy_from_slice(image))]);
    thumbnailer.make(bytes, image.len() as u64, wanted).await
}

/// The one thumbnail, scaled to 320x240.
async fn small(thumbnailer: &Thumbnailer, image: &[u8]) -> Result<Picture> {
    let size = wanted(320, 240, Method::Scale);
    match make(thumbnailer, image, &[size]).await?.pop() {
        Some(Made::Thumbnail(picture)) => Ok(picture),
        other => panic!("{other:?}"),
    }
}

/// Red on the left, blue on the right, with a green line at the top.
fn flag(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        if y < height / 10 {
            Rgb([0, 255, 0])
        } else if x < width / 2 {
            Rgb([255, 0, 0])
        } else {
            Rgb([0, 0, 255])
        }
    })
}

fn encode(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = DynamicImage::ImageRgb8(image.clone());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn animation(width: u32, height: u32, frames: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, 30);
    let frame = DynamicImage::ImageRgb8(flag(width, height)).into_rgba8();
    for _ in 0..frames {
        encoder
            .encode_frame(image::Frame::new(frame.clone()))
            .unwrap();
    }
    drop(encoder);
    bytes
}
