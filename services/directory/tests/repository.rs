//! A directory that serves what the authority published, and nothing else.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests are tests, though clippy does not see it"
)]

use std::{path::PathBuf, sync::Arc};

use axum::{Router, body::Body};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use luxchat_bundle::{
    DirectorySource, Naming, ReleaseFolder, Source, SourceError, SourceFuture, TrustStore,
    UpdateError,
};
use luxchat_directory::{REPOSITORY_PATH, repository};
use luxchat_provision::{
    Authority,
    testing::{self, now, passphrase},
};
use tower::ServiceExt;

#[tokio::test]
async fn boxes_follow_the_authority_through_the_directory() {
    let mut nation = Nation::new();
    nation.publish_and_import(now()).await.unwrap();
    let store = nation.trust_store("box");
    let source: Arc<dyn Source> = Arc::new(Peer(nation.router.clone()));
    let bundle = store.update(Arc::clone(&source), now()).await.unwrap();
    assert_eq!(bundle.version, 1);

    // No restart: what was imported is served.
    nation.publish_and_import(now()).await.unwrap();
    let bundle = store.update(source, now()).await.unwrap();
    assert_eq!(bundle.version, 2);
}

#[tokio::test]
async fn what_does_not_verify_is_never_served() {
    let mut nation = Nation::new();
    nation.publish_and_import(now()).await.unwrap();
    let before = nation.get("metadata/timestamp.json").await;

    // A stick from another authority.
    let mut foreign = Nation::new();
    foreign.publish(now());
    let error = nation.import(foreign.path("repository"), now()).await;
    assert!(matches!(error, Err(UpdateError::BadSignature { .. })));

    // One that has expired.
    let late = now() + SignedDuration::from_hours(24 * 100);
    let error = nation.import(nation.path("repository"), late).await;
    assert!(matches!(error, Err(UpdateError::Expired { .. })));

    // One that was changed.
    nation.publish(now());
    let timestamp = nation.path("repository/metadata/timestamp.json");
    let text = std::fs::read_to_string(&timestamp).unwrap();
    std::fs::write(&timestamp, text.replace("\"version\": 2", "\"version\": 9")).unwrap();
    let error = nation.import(nation.path("repository"), now()).await;
    assert!(matches!(error, Err(UpdateError::BadSignature { .. })));

    let after = nation.get("metadata/timestamp.json").await;
    assert_eq!(before.status(), StatusCode::OK);
    assert_eq!(body(before).await, body(after).await);
}

#[tokio::test]
async fn an_older_publication_is_not_served_again() {
    let mut nation = Nation::new();
    nation.publish_to("first", now());
    nation.publish_to("second", now());
    nation.import(nation.path("second"), now()).await.unwrap();
    let error = nation.import(nation.path("first"), now()).await;
    assert!(matches!(error, Err(UpdateError::Rollback(_))));
    let text = body(nation.get("metadata/timestamp.json").await).await;
    assert!(String::from_utf8(text).unwrap().contains("\"version\": 2"));
}

#[tokio::test]
async fn unchanged_files_are_not_sent_again() {
    let mut nation = Nation::new();
    nation.publish_and_import(now()).await.unwrap();
    let first = nation.get("metadata/timestamp.json").await;
    assert_eq!(first.headers()[header::CACHE_CONTROL], "no-cache");
    assert_eq!(first.headers()[header::CONTENT_TYPE], "application/json");
    let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();

    for known in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"a\", {tag}"),
        "*".to_owned(),
    ] {
        let answer = nation
            .get_if_none_match("metadata/timestamp.json", &known)
            .await;
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(answer.headers()[header::ETAG], tag);
        assert!(body(answer).await.is_empty());
    }
    let answer = nation
        .get_if_none_match("metadata/timestamp.json", "\"a\"")
        .await;
    assert_eq!(answer.status(), StatusCode::OK);

    nation.publish_and_import(now()).await.unwrap();
    let answer = nation
        .get_if_none_match("metadata/timestamp.json", &tag)
        .await;
    assert_eq!(answer.status(), StatusCode::OK);
    let lasting = nation.get("metadata/1.root.json").await;
    assert!(
        lasting.headers()[header::CACHE_CONTROL]
            .to_str()
            .unwrap()
            .ends_with("immutable")
    );
}

#[tokio::test]
async fn nothing_but_the_repository_can_be_read() {
    let mut nation = Nation::new();
    nation.publish_and_import(now()).await.unwrap();
    // The store's own files lie beside those that are served.
    assert!(nation.path("directory/root.json").exists());
    for path in [
        "root.json",
        "metadata",
        "metadata/",
        "metadata/root.json",
        "metadata/../root.json",
        "metadata/..%2Froot.json",
        "metadata/%2e%2e%2froot.json",
        "metadata/..%5croot.json",
        "metadata/%00",
        "metadata/%ff",
        "metadata/1.root.json/..",
        "metadata/9.root.json",
        "./root.json",
        "../root.json",
        "%2e%2e/root.json",
        "targets/..%2f..%2f..%2fetc%2fpasswd",
        "targets//etc/passwd",
        "targets/members.json",
    ] {
        let answer = nation.get(path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    for method in [Method::PUT, Method::POST, Method::DELETE, Method::PATCH] {
        let request = Request::builder()
            .method(method.clone())
            .uri(format!("{REPOSITORY_PATH}/metadata/timestamp.json"))
            .body(Body::from("{}"))
            .unwrap();
        let answer = nation.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    let missing = body(nation.get("metadata/9.root.json").await).await;
    assert_eq!(
        String::from_utf8(missing).unwrap(),
        r#"{"errcode":"M_NOT_FOUND","error":"The repository has no such file"}"#
    );
}

#[tokio::test]
async fn releases_are_served_in_pieces() {
    let mut nation = Nation::new();
    nation.publish_release().await;
    let store = nation.trust_store("box");
    let source: Arc<dyn Source> = Arc::new(Peer(nation.router.clone()));
    store.update(Arc::clone(&source), now()).await.unwrap();
    let release = store.releases(now()).await.unwrap().remove(0);
    let folder = ReleaseFolder::new(nation.path("fetched"));
    folder
        .fetch(&release, &*source, Naming::Plain)
        .await
        .unwrap();
    let root = &release.files[0];
    let built = std::fs::read(nation.path(&root.name)).unwrap();
    let fetched = std::fs::read(folder.path().join(&root.name)).unwrap();
    assert!(fetched == built, "the root file system came out different");

    let path = root.path();
    let answer = nation.get_range(&path, Some("bytes=10-19")).await;
    assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
    let range = format!("bytes 10-19/{ROOT_BYTES}");
    assert_eq!(answer.headers()[header::CONTENT_RANGE], range);
    assert_eq!(body(answer).await, built[10..20]);
    // No more at once than a few pieces, however much is asked for.
    let answer = nation.get_range(&path, Some("bytes=0-")).await;
    assert_eq!(body(answer).await.len(), 4 * 1024 * 1024);
    let answer = nation
        .get_range(&path, Some("bytes=4194304-9999999999"))
        .await;
    assert_eq!(body(answer).await, built[4 * 1024 * 1024..]);

    let beyond = format!("bytes={ROOT_BYTES}-");
    let answer = nation.get_range(&path, Some(&beyond)).await;
    assert_eq!(answer.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    for odd in [
        None,
        Some("bytes=9-1"),
        Some("bytes=-5"),
        Some("lines=1-2"),
        Some("bytes=0-1,4-5"),
        Some("bytes=18446744073709551615-"),
    ] {
        let answer = nation.get_range(&path, odd).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{odd:?}");
    }
    let other = path.replace("luxchat_2_", "luxchat_3_");
    let answer = nation.get_range(&other, Some("bytes=0-9")).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

/// What is served at once, and then some.
const ROOT_BYTES: u64 = 4 * 1024 * 1024 + 1000;

/// An authority and a directory.
struct Nation {
    folder: tempfile::TempDir,
    authority: Authority,
    directory: Arc<TrustStore>,
    router: Router,
}

impl Nation {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = testing::authority(&folder.path().join("authority"), now());
        let root = authority.trusted_root().unwrap();
        let directory = TrustStore::create(&folder.path().join("directory"), &root).unwrap();
        let directory = Arc::new(directory);
        Self {
            router: repository(Arc::clone(&directory), &folder.path().join("repository")),
            folder,
            authority,
            directory,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn trust_store(&self, name: &str) -> TrustStore {
        let root = self.authority.trusted_root().unwrap();
        TrustStore::create(&self.path(name), &root).unwrap()
    }

    fn publish(&mut self, now: Timestamp) {
        self.publish_to("repository", now);
    }

    fn publish_to(&mut self, name: &str, now: Timestamp) {
        let folder = self.path(name);
        self.authority.publish(&folder, &passphrase(), now).unwrap();
    }

    async fn import(&self, folder: PathBuf, now: Timestamp) -> Result<(), UpdateError> {
        let source = Arc::new(DirectorySource::new(folder));
        self.directory.update(source, now).await.map(drop)
    }

    async fn publish_and_import(&mut self, now: Timestamp) -> Result<(), UpdateError> {
        self.publish(now);
        self.import(self.path("repository"), now).await
    }

    /// Publishes release 2, of which the root file system is a piece and a half long.
    async fn publish_release(&mut self) {
        let uuid = "0123abcd-0123-4567-89ab-0123456789ab";
        let files = [
            (format!("luxchat_2_{uuid}.root"), ROOT_BYTES),
            (format!("luxchat_2_{uuid}.verity"), 10),
            ("luxchat_2.efi".to_owned(), 20),
        ];
        let files = files.map(|(name, length)| {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            std::fs::write(self.path(&name), bytes).unwrap();
            self.path(&name)
        });
        self.authority.add_release(&files, now()).unwrap();
        self.publish_and_import(now()).await.unwrap();
    }

    async fn get_range(&self, path: &str, range: Option<&str>) -> Response<Body> {
        get_range(&self.router, path, range).await
    }

    async fn get(&self, path: &str) -> Response<Body> {
        get(&self.router, path, None).await
    }

    async fn get_if_none_match(&self, path: &str, known: &str) -> Response<Body> {
        get(&self.router, path, Some(known)).await
    }
}

/// A directory as a box sees it, without the network between.
#[derive(Debug)]
struct Peer(Router);

impl Source for Peer {
    fn fetch<'a>(&'a self, path: &'a str, _: u64) -> SourceFuture<'a> {
        Box::pin(async move {
            let answer = get(&self.0, path, None).await;
            match answer.status() {
                StatusCode::OK => Ok(body(answer).await),
                StatusCode::NOT_FOUND => Err(SourceError::NotFound),
                other => Err(SourceError::Failed(other.to_string())),
            }
        })
    }

    fn fetch_part<'a>(&'a self, path: &'a str, from: u64, length: u64) -> SourceFuture<'a> {
        Box::pin(async move {
            let range = format!("bytes={from}-{}", from + length - 1);
            let answer = get_range(&self.0, path, Some(&range)).await;
            match answer.status() {
                StatusCode::PARTIAL_CONTENT => Ok(body(answer).await),
                other => Err(SourceError::Failed(other.to_string())),
            }
        })
    }
}

async fn get_range(router: &Router, path: &str, range: Option<&str>) -> Response<Body> {
    let mut request = Request::get(format!("{REPOSITORY_PATH}/{path}"));
    if let Some(range) = range {
        request = request.header(header::RANGE, range);
    }
    let request = request.body(Body::empty()).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

async fn get(router: &Router, path: &str, known: Option<&str>) -> Response<Body> {
    let mut request = Request::get(format!("{REPOSITORY_PATH}/{path}"));
    if let Some(known) = known {
        request = request.header(header::IF_NONE_MATCH, known);
    }
    let request = request.body(Body::empty()).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

async fn body(response: Response<Body>) -> Vec<u8> {
    response
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes()
        .into()
}
