//! Media on a temporary folder, with peers of the same process.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::Path as PathOf, http::header, routing::get};
use bytes::Bytes;
use futures_util::{TryStreamExt, future::join_all, stream};
use luxchat_federation::{Federation, MemoryNetwork};
use luxchat_store::{ManualClock, Store};
use ruma::{
    http_headers::ContentDispositionType, server_name, signatures::Ed25519KeyPair, user_id,
};
use tempfile::TempDir;

use crate::{Config, Error, Found, Media, Result, Upload, envelope};

const PATIENCE: Duration = Duration::from_secs(20);
const NO_PATIENCE: Duration = Duration::from_millis(20);

/// The media of "own.lu", whose peer "peer.lu" is a router.
struct World {
    media: Media,
    clock: Arc<ManualClock>,
    network: MemoryNetwork,
    config: Config,
    store: Store,
    _folder: TempDir,
}

impl World {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let name = server_name!("own.lu").to_owned();
        let clock = Arc::new(ManualClock::at(1_000_000));
        let mut config = luxchat_store::Config::new(folder.path().join("store"), name);
        config.clock = clock.clone();
        let store = Store::open(config).unwrap();
        let network = MemoryNetwork::new();
        let mut config = Config::new(folder.path().join("media"));
        config.free_bytes = 0;
        change(&mut config);
        Self {
            media: open(&store, &network, &config),
            clock,
            network,
            config,
            store,
            _folder: folder,
        }
    }

    async fn upload(&self, bytes: &'static [u8]) -> Result<String> {
        upload(&self.media, bytes, None).await
    }

    /// Answers requests for media of "peer.lu".
    fn peer(&self, answer: impl Fn(String) -> (String, Body) + Clone + Send + Sync + 'static) {
        let path = "/_matrix/federation/v1/media/download/{id}";
        let handler = async move |PathOf(id): PathOf<String>| {
            let (content_type, body) = answer(id);
            ([(header::CONTENT_TYPE, content_type)], body)
        };
        let router = Router::new().route(path, get(handler));
        self.network
            .attach(server_name!("peer.lu").to_owned(), router);
    }

    async fn fetch(&self, id: &str) -> Result<Vec<u8>> {
        let found = self
            .media
            .get(server_name!("peer.lu"), id, PATIENCE)
            .await?;
        Ok(all(found).await)
    }

    /// The files of contents and of those in the making.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.config.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files
    }
}

fn open(store: &Store, network: &MemoryNetwork, config: &Config) -> Media {
    let key = Ed25519KeyPair::from_der(&Ed25519KeyPair::generate(), "1".to_owned()).unwrap();
    let federation = Federation::in_memory(store.clone(), key, network.clone()).unwrap();
    Media::open(store.clone(), federation, config.clone()).unwrap()
}

async fn upload(media: &Media, bytes: &'static [u8], length: Option<u64>) -> Result<String> {
    let upload = Upload {
        user: user_id!("@alice:own.lu").to_owned(),
        content_type: Some("text/plain".to_owned()),
        file_name: Some("Äppel\n.txt".to_owned()),
        length,
    };
    let chunks = bytes
        .chunks(7)
        .map(|chunk| Ok::<_, Error>(Bytes::from(chunk)));
    media.upload(upload, stream::iter(chunks)).await
}

async fn all(found: Found) -> Vec<u8> {
    let size = found.size();
    part(found, 0, size).await
}

async fn part(found: Found, start: u64, length: u64) -> Vec<u8> {
    let chunks: Vec<Bytes> = found
        .read(start, length)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    chunks.concat()
}

/// A peer's answer, as the endpoint promises it.
fn whole(content: &str) -> (String, Body) {
    let body = format!(
        "--b\r\nContent-Type: application/json\r\n\r\n{{}}\r\n\
         --b\r\nContent-Type: image/png\r\n\r\n{content}\r\n--b--\r\n"
    );
    ("multipart/mixed; boundary=b".to_owned(), Body::from(body))
}

#[tokio::test]
async fn what_is_uploaded_is_found_and_kept_once() {
    let world = World::new(|_| {});
    let first = world.upload(b"the same bytes").await.unwrap();
    let second = world.upload(b"the same bytes").await.unwrap();
    let empty = world.upload(b"").await.unwrap();
    assert_ne!(first, second);
    assert_eq!(world.files().len(), 2);

    let found = world.media.local(&second).await.unwrap();
    assert_eq!(found.content_type(), "text/plain");
    let disposition = found.disposition(None);
    assert_eq!(disposition.disposition_type, ContentDispositionType::Inline);
    assert_eq!(disposition.filename.as_deref(), Some("Äppel.txt"));
    assert_eq!(all(found).await, b"the same bytes");
    let found = world.media.local(&first).await.unwrap();
    assert_eq!(part(found, 4, 4).await, b"same");
    let found = world.media.local(&empty).await.unwrap();
    assert_eq!(all(found).await, b"");
    let missing = world.media.local("missing").await;
    assert!(matches!(missing, Err(Error::NotFound)));
}

#[tokio::test]
async fn limits_hold_and_leave_nothing() {
    let world = World::new(|config| {
        config.max_bytes = 10;
        config.user_quota_bytes = Some(15);
    });
    let announced = upload(&world.media, b"", Some(11)).await;
    assert!(matches!(announced, Err(Error::TooLarge(10))));
    let sent = world.upload(b"eleven byte").await;
    assert!(matches!(sent, Err(Error::TooLarge(10))));
    assert!(world.files().is_empty());
    world.upload(b"ten bytes!").await.unwrap();
    let over = world.upload(b"six by").await;
    assert!(matches!(over, Err(Error::QuotaExceeded(15))));
    world.upload(b"five!").await.unwrap();
    assert_eq!(world.files().len(), 2);

    let full = World::new(|config| config.free_bytes = u64::MAX);
    let refused = full.upload(b"anything").await;
    assert!(matches!(refused, Err(Error::DiskFull)));
    full.peer(|_| whole("anything"));
    assert!(matches!(full.fetch("m").await, Err(Error::DiskFull)));
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let world = World::new(|config| config.stall_time = Duration::from_millis(20));
    let upload = Upload {
        user: user_id!("@alice:own.lu").to_owned(),
        content_type: None,
        file_name: None,
        length: None,
    };
    let broken = stream::iter([Ok(Bytes::from("begin")), Err("reset")]);
    let broken = world.media.upload(upload.clone(), broken).await;
    assert!(matches!(broken, Err(Error::BrokenOff(_))));
    let stalled = stream::pending::<Result<Bytes>>();
    let stalled = world.media.upload(upload, stalled).await;
    assert!(matches!(stalled, Err(Error::TooSlow)));
    assert!(world.files().is_empty());
}

#[tokio::test]
async fn a_sweep_removes_orphans_alone() {
    let world = World::new(|_| {});
    let id = world.upload(b"kept").await.unwrap();
    let orphan = world.config.folder.join("ab/cd").join("e".repeat(60));
    std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    std::fs::write(&orphan, "left by a crash").unwrap();
    let unfinished = world.config.folder.join("scratch/unfinished");
    std::fs::write(unfinished, "left by a crash").unwrap();

    let media = open(&world.store, &world.network, &world.config);
    media.sweep().await.unwrap();
    assert!(!Path::exists(&orphan));
    assert_eq!(world.files().len(), 1);
    let found = media.local(&id).await.unwrap();
    assert_eq!(all(found).await, b"kept");
}

#[tokio::test]
async fn many_who_wait_share_one_fetch_and_the_cache_outlives_the_peer() {
    let world = World::new(|_| {});
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    world.peer(move |id| {
        count.fetch_add(1, Ordering::Relaxed);
        whole(&format!("content of {id}"))
    });
    let fetches = join_all((0..20).map(|_| world.fetch("cat"))).await;
    for fetched in fetches {
        assert_eq!(fetched.unwrap(), b"content of cat");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    world.network.detach(server_name!("peer.lu"));
    assert_eq!(world.fetch("cat").await.unwrap(), b"content of cat");
    assert!(matches!(world.fetch("dog").await, Err(Error::Remote(_))));
    assert!(matches!(world.fetch("../cat").await, Err(Error::NotFound)));
}

#[tokio::test]
async fn a_peer_that_lies_or_stalls_leaves_nothing() {
    let world = World::new(|config| {
        config.max_bytes = 100;
        config.stall_time = Duration::from_millis(20);
    });
    world.peer(|id| {
        let (kind, body) = whole(&"x".repeat(101));
        let head = "--b\r\n\r\n{}\r\n--b\r\n";
        let text = match id.as_str() {
            "large" => return (kind, body),
            "kind" => return ("text/plain".to_owned(), body),
            "truncated" => format!("{head}\r\nhalf of it"),
            "redirect" => format!("{head}Location: https://elsewhere.lu/\r\n\r\n\r\n--b--"),
            _ => {
                let begun = stream::iter([Ok(Bytes::from(format!("{head}\r\nbegun")))]);
                let never = stream::pending::<std::io::Result<Bytes>>();
                let body = futures_util::StreamExt::chain(begun, never);
                return (kind, Body::from_stream(body));
            }
        };
        (kind, Body::from(text))
    });
    for id in ["kind", "truncated", "redirect", "stalled"] {
        let answer = world.fetch(id).await;
        assert!(matches!(answer, Err(Error::InvalidAnswer { .. })), "{id}");
    }
    let large = world.fetch("large").await;
    assert!(matches!(large, Err(Error::RemoteTooLarge(100))));
    assert!(world.files().is_empty());
    let size: luxchat_store::Result<u64> = world.store.read(|tx| tx.remote_media_bytes()).await;
    assert_eq!(size.unwrap(), 0);
}

#[tokio::test]
async fn a_peer_that_stalls_does_not_hold_up_the_others() {
    let world = World::new(|config| config.parallel_fetches = 8);
    let (kind, _) = whole("");
    let never = move |_| {
        let never = stream::pending::<std::io::Result<Bytes>>();
        (kind.clone(), Body::from_stream(never))
    };
    world.peer(never);
    let media = world.media.clone();
    let stalled = ["a", "b"].map(|id| {
        let media = media.clone();
        tokio::spawn(async move { media.get(server_name!("peer.lu"), id, PATIENCE).await })
    });
    // Both have their places, before or after these that find none.
    let ids = ["c", "d"].map(|id| world.media.get(server_name!("peer.lu"), id, NO_PATIENCE));
    for refused in join_all(ids).await {
        assert!(matches!(refused, Err(Error::NotYet)));
    }
    let other = Router::new().route(
        "/_matrix/federation/v1/media/download/{id}",
        get(async || {
            let (kind, body) = whole("here");
            ([(header::CONTENT_TYPE, kind)], body)
        }),
    );
    let name = server_name!("other.lu");
    world.network.attach(name.to_owned(), other);
    let found = world.media.get(name, "cat", PATIENCE).await.unwrap();
    assert_eq!(all(found).await, b"here");
    for task in stalled {
        task.abort();
    }
}

#[tokio::test]
async fn a_page_of_pictures_of_one_peer_all_arrive() {
    let world = World::new(|config| config.parallel_fetches = 4);
    world.peer(|id| whole(&id));
    let ids: Vec<String> = (0..50).map(|number| format!("picture{number}")).collect();
    let fetched = join_all(ids.iter().map(|id| world.fetch(id))).await;
    for (id, fetched) in ids.iter().zip(fetched) {
        assert_eq!(fetched.unwrap(), id.as_bytes());
    }
}

#[tokio::test]
async fn the_cache_stays_below_its_cap_and_uploads_stay() {
    let world = World::new(|config| config.cache_bytes = 30);
    world.peer(|id| whole(&format!("ten bytes{id}")));
    let uploaded = world.upload(b"an upload of more than thirty bytes").await;
    for id in ["a", "b", "c"] {
        world.fetch(id).await.unwrap();
        world.clock.advance(Duration::from_hours(1));
    }
    world.fetch("a").await.unwrap();
    world.clock.advance(Duration::from_hours(1));
    world.fetch("d").await.unwrap();
    assert_eq!(world.files().len(), 4);
    world.network.detach(server_name!("peer.lu"));
    for kept in ["a", "c", "d"] {
        world.fetch(kept).await.unwrap();
    }
    assert!(world.fetch("b").await.is_err());
    world.media.local(&uploaded.unwrap()).await.unwrap();
}

#[tokio::test]
async fn what_one_server_wraps_another_unwraps() {
    let world = World::new(|_| {});
    let id = world
        .upload(b"--b\r\nfor another server\r\n--")
        .await
        .unwrap();
    let wrapped = envelope(world.media.local(&id).await.unwrap())
        .await
        .unwrap();
    let bytes: Vec<Bytes> = wrapped.body.try_collect().await.unwrap();
    let bytes = bytes.concat();
    assert_eq!(bytes.len() as u64, wrapped.length);
    let kind = wrapped.content_type;
    world.peer(move |_| (kind.clone(), Body::from(bytes.clone())));
    let found = world
        .media
        .get(server_name!("peer.lu"), "m", PATIENCE)
        .await;
    let found = found.unwrap();
    assert_eq!(found.content_type(), "text/plain");
    let disposition = found.disposition(None);
    assert_eq!(disposition.filename.as_deref(), Some("Äppel.txt"));
    assert_eq!(all(found).await, b"--b\r\nfor another server\r\n--");
}

#[tokio::test]
async fn small_images_stand_for_their_thumbnails() {
    let world = World::new(|config| config.max_thumbnail_bytes = 10);
    world.peer(|id| whole(&"x".repeat(id.len())));
    let thumbnail = async |id: &str| {
        let found = world
            .media
            .get(server_name!("peer.lu"), id, PATIENCE)
            .await?;
        world.media.as_thumbnail(found).map(|found| found.size())
    };
    assert_eq!(thumbnail("ten-chars-").await.unwrap(), 10);
    let large = thumbnail("ten-chars-1").await;
    assert!(matches!(large, Err(Error::TooLarge(10))));
    let text = world.upload(b"text").await.unwrap();
    let text = world.media.local(&text).await.unwrap();
    let refused = world.media.as_thumbnail(text);
    assert!(matches!(refused, Err(Error::NoThumbnail)));
}
