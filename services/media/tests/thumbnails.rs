//! Thumbnails of what was uploaded, by workers in processes of their own: this program, started with one argument.

#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![expect(clippy::print_stdout, reason = "it is its own test harness")]

use std::{
    io::Cursor,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{TryStreamExt, future::join_all, stream};
use image::{DynamicImage, ImageFormat, RgbImage, codecs::gif::GifEncoder};
use luxchat_federation::{Federation, MemoryNetwork};
use luxchat_media::{
    Config, Error, Found, Media, ThumbnailerState, Upload,
    thumbnailer::{self, Failure, Method, Wanted},
};
use luxchat_store::Store;
use ruma::{server_name, signatures::Ed25519KeyPair, user_id};
use tempfile::TempDir;

const WORKER: &str = "be-a-worker";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(WORKER) {
        return thumbnailer::run_worker();
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    println!("made once and kept");
    runtime.block_on(a_thumbnail_is_made_once_and_goes_with_its_original());
    println!("hostile images");
    runtime.block_on(hostile_images_cost_their_own_requests());
    println!("moving images");
    runtime.block_on(what_moves_moves_only_when_asked_to());
    println!("a small cache");
    runtime.block_on(thumbnails_stay_within_their_share_of_the_cache());
    println!("made in advance");
    runtime.block_on(the_usual_sizes_are_made_in_advance_where_the_site_wants_it());
    ExitCode::SUCCESS
}

async fn a_thumbnail_is_made_once_and_goes_with_its_original() {
    let world = World::new(|_| ());
    let id = world.upload("image/jpeg", picture(900, 600)).await;
    let state = world.media.thumbnailer_state().await;
    assert!(matches!(state, ThumbnailerState::Confined(_)), "{state:?}");

    let all = join_all((0..8).map(|_| world.thumbnail(&id, 300, 200, false))).await;
    let tags: Vec<_> = all
        .iter()
        .map(|found| found.as_ref().unwrap().entity_tag())
        .collect();
    assert!(tags.iter().all(|tag| *tag == tags[0]));
    let found = all.into_iter().next().unwrap().unwrap();
    assert_eq!(found.content_type(), "image/jpeg");
    let disposition = found.disposition(None).to_string();
    assert_eq!(disposition, "inline; filename=thumbnail.jpg");
    let size = found.size();
    let small = image::load_from_memory(&bytes(found).await).unwrap();
    // 300x200 is made as 320x240.
    assert_eq!((small.width(), small.height()), (320, 213));
    assert_eq!(world.thumbnail_bytes().await, size);
    assert_eq!(world.files(), 2);
    let usage = world.media.usage().await.unwrap();
    assert_eq!(usage.cache_bytes, size);

    // Another size, and one for which the original is not too large.
    world.thumbnail(&id, 32, 32, false).await.unwrap();
    let original = world.thumbnail(&id, 1600, 1600, false).await.unwrap();
    assert_eq!(bytes(original).await, picture(900, 600));
    assert_eq!(world.files(), 3);

    let server = server_name!("own.lu").to_owned();
    let deleted = world
        .media
        .delete(server, id.clone(), "operator".to_owned());
    deleted.await.unwrap();
    let gone = world.thumbnail(&id, 300, 200, false).await;
    assert!(matches!(gone, Err(Error::NotFound)), "{gone:?}");
    world.media.maintain().await.unwrap();
    assert_eq!(world.files(), 0);
}

async fn hostile_images_cost_their_own_requests() {
    let world = World::new(|_| ());
    let good = world.upload("image/png", picture(400, 400)).await;
    let mut huge = picture(8, 8);
    let frame = huge.windows(2).position(|part| part == [0xff, 0xc0]);
    let size = frame.unwrap() + 5;
    huge[size..size + 4].fill(0xff);
    for (kind, bad, expected) in [
        ("image/png", b"<html>".to_vec(), Failure::Unsupported),
        ("image/png", b"\x89PNG\r\n\x1a\n".to_vec(), Failure::Damaged),
        ("image/jpeg", huge, Failure::TooLarge),
    ] {
        let id = world.upload(kind, bad).await;
        // The second time it is known.
        for _ in 0..2 {
            let made = world.thumbnail(&id, 32, 32, false).await;
            let failure = match made.unwrap_err() {
                Error::Thumbnailer(thumbnailer::Error::Image(failure)) => failure,
                other => panic!("{other:?}"),
            };
            assert_eq!(failure, expected);
        }
    }
    world.thumbnail(&good, 32, 32, false).await.unwrap();
}

async fn what_moves_moves_only_when_asked_to() {
    let world = World::new(|_| ());
    let moving = animation();
    let id = world.upload("image/gif", moving.clone()).await;
    let animated = world.thumbnail(&id, 64, 64, true).await.unwrap();
    assert_eq!(bytes(animated).await, moving);
    let still = world.thumbnail(&id, 64, 64, false).await.unwrap();
    assert_eq!(still.content_type(), "image/jpeg");
    // A still image cannot move.
    let id = world.upload("image/jpeg", picture(100, 100)).await;
    let still = world.thumbnail(&id, 64, 64, true).await.unwrap();
    let still = image::load_from_memory(&bytes(still).await).unwrap();
    assert_eq!(still.width(), 64);
}

async fn thumbnails_stay_within_their_share_of_the_cache() {
    let world = World::new(|config| config.cache_bytes = 200_000);
    let mut evicted = false;
    for width in (200..220).rev() {
        let id = world.upload("image/jpeg", picture(width, 150)).await;
        let found = world.thumbnail(&id, 160, 100, false).await.unwrap();
        assert!(!bytes(found).await.is_empty());
        let kept = world.thumbnail_bytes().await;
        assert!((1..=50_000).contains(&kept), "{kept}");
        // One file for each upload, and fewer thumbnails.
        evicted |= world.files() < 2 * usize::try_from(220 - width).unwrap();
    }
    assert!(
        evicted,
        "{} bytes are enough for all",
        world.thumbnail_bytes().await
    );
}

async fn the_usual_sizes_are_made_in_advance_where_the_site_wants_it() {
    let world = World::new(|config| config.premade_thumbnails = true);
    world.upload("image/jpeg", picture(1000, 800)).await;
    world.upload("text/plain", b"text".to_vec()).await;
    let began = Instant::now();
    while world.files() < 2 + 5 {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "{}",
            world.files()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct World {
    media: Media,
    store: Store,
    folder: TempDir,
}

impl World {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let name = server_name!("own.lu").to_owned();
        let config = luxchat_store::Config::new(folder.path().join("store"), name);
        let store = Store::open(config).unwrap();
        let key = Ed25519KeyPair::from_der(&Ed25519KeyPair::generate(), "1".to_owned()).unwrap();
        let federation = Federation::in_memory(store.clone(), key, MemoryNetwork::new()).unwrap();
        let mut config = Config::new(folder.path().join("media"));
        config.free_bytes = 0;
        config.thumbnailer = Some(thumbnailer::Config {
            arguments: vec![WORKER.to_owned()],
            ..thumbnailer::Config::new(std::env::current_exe().unwrap())
        });
        change(&mut config);
        Self {
            media: Media::open(store.clone(), federation, config).unwrap(),
            store,
            folder,
        }
    }

    async fn upload(&self, kind: &str, bytes: Vec<u8>) -> String {
        let upload = Upload {
            user: user_id!("@alice:own.lu").to_owned(),
            content_type: Some(kind.to_owned()),
            file_name: None,
            length: None,
        };
        let body = stream::iter([Ok::<_, Error>(Bytes::from(bytes))]);
        self.media.upload(upload, body).await.unwrap()
    }

    async fn thumbnail(
        &self,
        id: &str,
        width: u32,
        height: u32,
        animated: bool,
    ) -> Result<Found, Error> {
        let original = self.media.local(id, Duration::ZERO).await?;
        let size = Wanted {
            width,
            height,
            method: Method::Scale,
        };
        self.media.thumbnail(original, size, animated).await
    }

    async fn thumbnail_bytes(&self) -> u64 {
        let bytes: luxchat_store::Result<u64> = self.store.read(|tx| tx.thumbnail_bytes()).await;
        bytes.unwrap()
    }

    /// The contents on disk.
    fn files(&self) -> usize {
        count(&self.folder.path().join("media"))
    }
}

fn count(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .filter(|entry| entry.file_name() != "scratch")
        .map(|entry| {
            if entry.path().is_dir() {
                count(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

async fn bytes(found: Found) -> Vec<u8> {
    let parts: Vec<Bytes> = found.read(0, found.size()).try_collect().await.unwrap();
    parts.concat()
}

fn picture(width: u32, height: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, y| {
        let noise = (x * 7919 + y * 104_729) ^ (x * y);
        image::Rgb([x, y, noise].map(|value| u8::try_from(value % 251).unwrap()))
    });
    let mut bytes = Cursor::new(Vec::new());
    let image = DynamicImage::ImageRgb8(image);
    image.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

fn animation() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    for shade in [0, 128, 255] {
        let frame = image::RgbaImage::from_pixel(100, 80, image::Rgba([shade, 0, 0, 255]));
        encoder.encode_frame(image::Frame::new(frame)).unwrap();
    }
    drop(encoder);
    bytes
}
