//! Previews of pages that a server on this machine has.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use luxchat_store::{ManualClock, Store};
use ruma::{server_name, user_id};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{Config, Error, Picture, Previews};

/// The beginning of a picture of three by two pixels.
pub(crate) const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x03\0\0\0\x02\x08\x02\0\0\0\x12\x16\xf1\x4d";

/// A web server with an answer for each path.
struct Site {
    port: u16,
    answers: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    asked: Arc<AtomicUsize>,
}

impl Site {
    async fn start(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let site = Self {
            port: listener.local_addr().unwrap().port(),
            answers: Arc::default(),
            asked: Arc::default(),
        };
        let (answers, asked) = (Arc::clone(&site.answers), Arc::clone(&site.asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    let read = stream.read(&mut request).await.unwrap();
                    let request = String::from_utf8_lossy(&request[..read]).into_owned();
                    asked.fetch_add(1, Ordering::SeqCst);
                    assert!(!request.to_lowercase().contains("cookie"), "{request}");
                    let path = request.split(' ').nth(1).unwrap().to_owned();
                    let answer = answers.lock().unwrap().get(&path).cloned();
                    match answer {
                        Some(answer) => {
                            let _ = stream.write_all(&answer).await;
                        }
                        // Nothing at all.
                        None => tokio::time::sleep(Duration::from_mins(1)).await,
                    }
                });
            }
        });
        site
    }

    fn answer(&self, path: &str, status: &str, headers: &str, body: &[u8]) {
        let mut answer = format!(
            "HTTP/1.1 {status}\r\n{headers}Set-Cookie: a=b\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend(body);
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn page(&self, path: &str, html: &str) {
        self.answer(
            path,
            "200 OK",
            "Content-Type: text/html\r\n",
            html.as_bytes(),
        );
    }

    fn redirect(&self, path: &str, to: &str) {
        self.answer(path, "302 Found", &format!("Location: {to}\r\n"), b"");
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

struct Own {
    _folder: TempDir,
    clock: Arc<ManualClock>,
    previews: Previews,
}

impl Own {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store.db");
        let clock = Arc::new(ManualClock::at(1_000_000));
        let mut store = luxchat_store::Config::new(path, server_name!("own.lu").to_owned());
        store.clock = clock.clone();
        let mut config = Config {
            allowed_networks: vec!["127.0.0.1/32".parse().unwrap()],
            ports: Vec::new(),
            ..Config::default()
        };
        change(&mut config);
        Self {
            previews: Previews::new(Store::open(store).unwrap(), config).unwrap(),
            _folder: folder,
            clock,
        }
    }

    async fn preview(&self, url: &str) -> Result<Value, Error> {
        let keep = async |picture: Picture| Some(format!("kept{}", picture.bytes.len()));
        let preview = self.previews.preview(user_id!("@alice:own.lu"), url, keep);
        preview
            .await
            .map(|json| serde_json::from_str(&json).unwrap())
    }

    async fn fails(&self, url: &str) {
        let error = self.preview(url).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_page_is_fetched_once_with_its_picture() {
    let site = Site::start("127.0.0.1").await;
    site.page(
        "/a/page?x=1",
        "<meta property=og:title content=Title><meta property=og:image content=picture.png>
         <meta property=og:image:width content=9000>",
    );
    site.answer(
        "/a/picture.png",
        "200 OK",
        "Content-Type: image/png\r\n",
        PNG,
    );
    let own = Own::new(|_| {});
    let url = site.url("/a/page?x=1");
    let expected = json!({
        "og:title": "Title", "og:image": format!("mxc://own.lu/kept{}", PNG.len()),
        "og:image:type": "image/png", "og:image:width": 3, "og:image:height": 2,
        "matrix:image:size": PNG.len(),
    });
    assert_eq!(own.preview(&url).await.unwrap(), expected);
    // Where on the page does not matter.
    assert_eq!(
        own.preview(&format!("{url}#there")).await.unwrap(),
        expected
    );
    assert_eq!(site.asked(), 2);
    own.clock.advance(Config::default().lifetime);
    assert_eq!(own.preview(&url).await.unwrap(), expected);
    assert_eq!(site.asked(), 4);
}

#[tokio::test]
async fn a_picture_is_its_own_preview_and_other_files_have_none() {
    let site = Site::start("127.0.0.1").await;
    site.answer("/p", "200 OK", "Content-Type: image/webp\r\n", PNG);
    site.answer(
        "/svg",
        "200 OK",
        "Content-Type: image/svg+xml\r\n",
        b"<svg/>",
    );
    site.answer("/zip", "200 OK", "Content-Type: application/zip\r\n", PNG);
    let own = Own::new(|_| {});
    let picture = own.preview(&site.url("/p")).await.unwrap();
    assert_eq!(picture["og:image:type"], "image/png");
    assert_eq!(own.preview(&site.url("/svg")).await.unwrap(), json!({}));
    assert_eq!(own.preview(&site.url("/zip")).await.unwrap(), json!({}));
}

#[tokio::test]
async fn nothing_inside_is_reached() {
    let site = Site::start("127.0.0.1").await;
    site.page("/", "<title>secret</title>");
    let own = Own::new(|config| config.allowed_networks.clear());
    own.fails(&site.url("/")).await;
    own.fails(&format!("http://localhost:{}/", site.port)).await;
    own.fails(&format!("http://[::ffff:127.0.0.1]:{}/", site.port))
        .await;
    own.fails(&format!("http://2130706433:{}/", site.port))
        .await;
    assert_eq!(site.asked(), 0);
    let own = Own::new(|config| config.ports = vec![80, 443]);
    own.fails(&site.url("/")).await;
    assert_eq!(site.asked(), 0);
    for invalid in [
        "file:///etc/passwd",
        "ftp://example.org/",
        "http://user:secret@example.org/",
        "nonsense",
    ] {
        let error = own.preview(invalid).await.unwrap_err();
        assert!(matches!(error, Error::InvalidUrl(_)), "{invalid}: {error}");
    }
}

#[tokio::test]
async fn redirects_and_pictures_are_checked_like_pages() {
    let (site, inside) = (
        Site::start("127.0.0.1").await,
        Site::start("127.0.0.2").await,
    );
    inside.page("/", "<title>secret</title>");
    inside.answer("/p", "200 OK", "Content-Type: image/png\r\n", PNG);
    let secret = format!("http://127.0.0.2:{}", inside.port);
    site.redirect("/away", &secret);
    site.redirect("/file", "file:///etc/passwd");
    site.redirect("/round", "/round");
    site.redirect("/1", "/2");
    site.redirect("/2", "/3");
    site.page("/3", "<title>there</title>");
    let page = format!("<title>outside</title><meta property=og:image content='{secret}/p'>");
    site.page("/picture", &page);
    let own = Own::new(|_| {});
    for refused in ["/away", "/file", "/round"] {
        own.fails(&site.url(refused)).await;
    }
    assert_eq!(
        own.preview(&site.url("/1")).await.unwrap(),
        json!({ "og:title": "there" })
    );
    let without = own.preview(&site.url("/picture")).await.unwrap();
    assert_eq!(without, json!({ "og:title": "outside" }));
    assert_eq!(inside.asked(), 0);
}

#[tokio::test]
async fn sizes_and_time_are_bounded() {
    let site = Site::start("127.0.0.1").await;
    let long = format!(
        "<title>long</title>{}<meta property=og:type content=x>",
        "x".repeat(5_000)
    );
    site.page("/long", &long);
    let large = [PNG, &[0; 5_000]].concat();
    site.answer("/large", "200 OK", "Content-Type: image/png\r\n", &large);
    let packed = "Content-Type: text/html\r\nContent-Encoding: gzip\r\n";
    site.answer("/packed", "200 OK", packed, b"\x1f\x8b");
    site.answer("/missing", "404 Not Found", "", b"<title>missing</title>");
    let own = Own::new(|config| {
        config.page_bytes = 1_000;
        config.picture_bytes = 1_000;
    });
    assert_eq!(
        own.preview(&site.url("/long")).await.unwrap(),
        json!({ "og:title": "long" })
    );
    for refused in ["/large", "/packed", "/missing"] {
        own.fails(&site.url(refused)).await;
    }
    let hasty = Own::new(|config| config.timeout = Duration::from_millis(100));
    let error = hasty.preview(&site.url("/silent")).await.unwrap_err();
    // On a busy machine, to note the failure takes the rest of the time that whoever asks is kept waiting.
    let gave_up = matches!(error, Error::Unavailable | Error::TooMany(_));
    assert!(gave_up, "{error}");
    // It is not tried again and again, but it is tried again.
    let asked = site.asked();
    own.fails(&site.url("/missing")).await;
    assert_eq!(site.asked(), asked);
    own.clock.advance(Config::default().failure_lifetime);
    site.page("/missing", "<title>found</title>");
    assert_eq!(
        own.preview(&site.url("/missing")).await.unwrap(),
        json!({ "og:title": "found" })
    );
}

#[tokio::test]
async fn many_who_ask_share_one_fetch() {
    let site = Site::start("127.0.0.1").await;
    site.page("/", "<title>page</title>");
    let own = Arc::new(Own::new(|_| {}));
    let askers: Vec<_> = (0..20)
        .map(|_| {
            let (own, url) = (Arc::clone(&own), site.url("/"));
            tokio::spawn(async move { own.preview(&url).await.unwrap() })
        })
        .collect();
    for asker in askers {
        assert_eq!(asker.await.unwrap(), json!({ "og:title": "page" }));
    }
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn a_user_who_asks_too_often_waits() {
    let site = Site::start("127.0.0.1").await;
    for path in ["/1", "/2", "/3"] {
        site.page(path, "<title>page</title>");
    }
    let own = Own::new(|config| config.per_user_and_minute = 2);
    own.preview(&site.url("/1")).await.unwrap();
    own.preview(&site.url("/2")).await.unwrap();
    let error = own.preview(&site.url("/3")).await.unwrap_err();
    assert!(matches!(error, Error::TooMany(_)), "{error}");
    // What is at hand costs nothing.
    own.preview(&site.url("/1")).await.unwrap();
}
