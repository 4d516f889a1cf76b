//! Media on a temporary folder, with peers of the same process.

mod fetching;
mod keeping;
mod quarantine;
mod uploads;

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Path as PathOf, http::header, routing::get};
use bytes::Bytes;
use futures_util::{TryStreamExt, future::join_all, stream};
use luxchat_federation::{Federation, MemoryNetwork};
use luxchat_store::{ManualClock, ReadTx, Store};
use ruma::{server_name, signatures::Ed25519KeyPair, user_id};
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

    async fn local(&self, id: &str) -> Result<Found> {
        self.media.local(id, NO_PATIENCE).await
    }

    async fn fetch(&self, id: &str) -> Result<Vec<u8>> {
        let found = self
            .media
            .get(server_name!("peer.lu"), id, PATIENCE)
            .await?;
        Ok(all(found).await)
    }

    async fn fetch_error(&self, id: &str) -> Error {
        let peer = server_name!("peer.lu");
        self.media.get(peer, id, PATIENCE).await.unwrap_err()
    }

    /// What the store says.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTx<'_>) -> luxchat_store::Result<T> + Send + 'static,
    ) -> T {
        self.store.read(move |tx| read(tx)).await.unwrap()
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
    let upload = described(length);
    media.upload(upload, stream::iter(chunks(bytes))).await
}

fn described(length: Option<u64>) -> Upload {
    Upload {
        user: user_id!("@alice:own.lu").to_owned(),
        content_type: Some("text/plain".to_owned()),
        file_name: Some("Äppel\n.txt".to_owned()),
        length,
    }
}

fn chunks(bytes: &'static [u8]) -> impl Iterator<Item = Result<Bytes>> {
    bytes.chunks(7).map(|chunk| Ok(Bytes::from(chunk)))
}

async fn all(found: Found) -> Vec<u8> {
    let size = found.size();
    part(found, 0, size).await
}

async fn part(found: Found, start: u64, length: u64) -> Vec<u8> {
    let chunks: Vec<Bytes> = found.read(start, length).try_collect().await.unwrap();
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
