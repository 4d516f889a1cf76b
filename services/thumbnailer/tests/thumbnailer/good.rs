//! What becomes of images that are what they say.

use std::future::pending;

use image::{ImageFormat, RgbImage, Rgba, RgbaImage};
use luxchat_thumbnailer::{Error, Failure, ImageType, Made, Method::Crop, Method::Scale};

use tokio::sync::oneshot;

use super::*;

fn decoded(picture: &Picture) -> RgbImage {
    let format = match picture.kind {
        ImageType::Jpeg => ImageFormat::Jpeg,
        ImageType::Png => ImageFormat::Png,
        ImageType::WebP => ImageFormat::WebP,
    };
    let image = image::load_from_memory_with_format(&picture.bytes, format).unwrap();
    assert_eq!(
        (image.width(), image.height()),
        (picture.width, picture.height)
    );
    image.into_rgb8()
}

/// Which of red, green and blue a pixel is, roughly.
fn colour(image: &RgbImage, x: u32, y: u32) -> char {
    match image.get_pixel(x, y).0 {
        [200..=255, 0..=80, 0..=80] => 'r',
        [0..=80, 200..=255, 0..=80] => 'g',
        [0..=80, 0..=80, 200..=255] => 'b',
        _ => '?',
    }
}

#[tokio::test]
async fn every_kind_is_scaled_and_keeps_its_looks() {
    let thumbnailer = thumbnailer();
    let flag = flag(800, 600);
    let images = [
        (encode(&flag, ImageFormat::Jpeg), ImageType::Jpeg),
        (encode(&flag, ImageFormat::Png), ImageType::Png),
        (encode(&flag, ImageFormat::WebP), ImageType::Jpeg),
        (animation(800, 600, 3), ImageType::Jpeg),
    ];
    for (number, (image, kind)) in images.iter().enumerate() {
        let picture = small(&thumbnailer, image).await.unwrap();
        assert_eq!((picture.width, picture.height), (320, 240), "{number}");
        assert_eq!(picture.kind, *kind);
        let small = decoded(&picture);
        let colours = [(10, 200), (310, 200), (10, 5), (310, 5)];
        let colours = colours.map(|(x, y)| colour(&small, x, y));
        assert_eq!(colours, ['r', 'b', 'g', 'g'], "{number}");
    }
}

#[tokio::test]
async fn several_sizes_come_of_one_decoding() {
    let image = encode(&flag(1000, 500), ImageFormat::Jpeg);
    let sizes = [
        wanted(32, 32, Crop),
        wanted(96, 96, Crop),
        wanted(320, 240, Scale),
        wanted(640, 480, Scale),
        wanted(800, 600, Scale),
    ];
    let made = make(&thumbnailer(), &image, &sizes).await.unwrap();
    let made: Vec<_> = made
        .iter()
        .map(|made| match made {
            Made::Thumbnail(picture) => (picture.width, picture.height),
            Made::Original(_) => panic!("it is larger"),
        })
        .collect();
    let expected = [(32, 32), (96, 96), (320, 160), (640, 320), (800, 400)];
    assert_eq!(made, expected);
}

#[tokio::test]
async fn small_images_stand_for_themselves_unless_they_move() {
    let thumbnailer = thumbnailer();
    let sizes = [wanted(320, 240, Scale), wanted(96, 96, Crop)];
    let flag = flag(90, 80);
    for (format, kind) in [
        (ImageFormat::Jpeg, ImageType::Jpeg),
        (ImageFormat::Png, ImageType::Png),
        (ImageFormat::WebP, ImageType::WebP),
    ] {
        let made = make(&thumbnailer, &encode(&flag, format), &sizes).await;
        let original = Made::Original(kind);
        assert_eq!(made.unwrap(), [original.clone(), original]);
    }
    let picture = small(&thumbnailer, &animation(90, 80, 2)).await.unwrap();
    assert_eq!((picture.width, picture.height), (90, 80));
}

#[tokio::test]
async fn what_shines_through_still_does() {
    let image = RgbaImage::from_fn(640, 480, |x, _| Rgba([255, 0, 0, u8::from(x < 320) * 255]));
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    let picture = small(&thumbnailer(), bytes.get_ref()).await.unwrap();
    assert_eq!(picture.kind, ImageType::Png);
    let small = image::load_from_memory(&picture.bytes)
        .unwrap()
        .into_rgba8();
    assert_eq!(small.get_pixel(10, 10).0, [255, 0, 0, 255]);
    assert_eq!(small.get_pixel(310, 10)[3], 0);
}

#[tokio::test]
async fn sixteen_bits_become_eight() {
    let image = image::ImageBuffer::from_fn(640, 480, |_, _| image::Rgb([u16::MAX, 0, 0]));
    let mut bytes = Cursor::new(Vec::new());
    let image = image::DynamicImage::ImageRgb16(image);
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    let picture = small(&thumbnailer(), bytes.get_ref()).await.unwrap();
    let small = image::load_from_memory(&picture.bytes).unwrap();
    assert_eq!(small.color(), image::ColorType::Rgb8);
    assert_eq!(colour(&small.into_rgb8(), 10, 10), 'r');
}

/// A JPEG that was taken with the camera on its side, and says where and with what.
fn turned() -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x02".to_vec();
    // Orientation: 6, turn it a quarter to the right. Make: the 16 bytes after the directory.
    exif.extend(b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0");
    exif.extend(b"\x01\x0f\0\x02\0\0\0\x10\0\0\0\x26");
    exif.extend(b"\0\0\0\0SecretCamera 12\0");
    let jpeg = encode(&flag(800, 400), ImageFormat::Jpeg);
    let mut turned = jpeg[..2].to_vec();
    turned.extend([0xff, 0xe1]);
    turned.extend(u16::try_from(exif.len() + 2).unwrap().to_be_bytes());
    turned.extend(exif);
    turned.extend(&jpeg[2..]);
    turned
}

#[tokio::test]
async fn images_are_turned_upright_and_stripped_of_what_they_tell() {
    let image = turned();
    let tells = |bytes: &[u8]| bytes.windows(12).any(|part| part == b"SecretCamera");
    assert!(tells(&image));
    let picture = small(&thumbnailer(), &image).await.unwrap();
    // 400x800 once upright.
    assert_eq!((picture.width, picture.height), (120, 240));
    let upright = decoded(&picture);
    // Left is up now, and the line at the top is at the right.
    let colours = [(10, 10), (10, 230), (117, 120)].map(|(x, y)| colour(&upright, x, y));
    assert_eq!(colours, ['r', 'b', 'g']);
    assert!(!tells(&picture.bytes));
    assert!(!picture.bytes.windows(4).any(|part| part == b"Exif"));
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_is_told_so() {
    let config = Config {
        workers: 1,
        waiting: 1,
        waiting_time: Duration::from_millis(50),
        time: Duration::from_mins(1),
        ..Config::new(program())
    };
    let thumbnailer = Thumbnailer::new(config);
    let sizes = [wanted(32, 32, Crop)];
    // An image whose bytes do not come: once they are asked for, its worker is at work.
    let (asked, at_work) = oneshot::channel();
    let never = stream::once(async {
        asked.send(()).unwrap();
        pending().await
    });
    let other = thumbnailer.clone();
    let first = tokio::spawn(async move { other.make(never, 1000, &sizes).await });
    at_work.await.unwrap();
    let image = encode(&flag(64, 64), ImageFormat::Png);
    // One waits in vain, and one is not even let in.
    let (one, other) = tokio::join!(
        make(&thumbnailer, &image, &sizes),
        make(&thumbnailer, &image, &sizes)
    );
    assert_eq!((one, other), (Err(Error::Busy), Err(Error::Busy)));
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let free = thumbnailer.check().await;
    assert!(free.is_ok(), "{free:?}");
}

#[tokio::test]
async fn workers_that_cannot_work_are_noticed() {
    let missing = Thumbnailer::new(Config::new("/nonexistent"));
    let checked = missing.check().await;
    assert!(matches!(checked, Err(Error::Unavailable(_))), "{checked:?}");
    // A program that is no worker.
    let other = Thumbnailer::new(Config::new("/bin/true"));
    let checked = other.check().await;
    assert!(matches!(checked, Err(Error::Unavailable(_))), "{checked:?}");
    assert!(thumbnailer().check().await.is_ok());
    let large = thumbnailer().make(stream::empty(), u64::MAX, &[]).await;
    assert_eq!(large, Err(Error::Image(Failure::TooLarge)));
}
