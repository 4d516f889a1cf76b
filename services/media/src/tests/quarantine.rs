use luxchat_store::AuditEntry;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

use super::*;
use crate::{ScanService, ScannerAddress, ScannerConfig, ScannerState, Target, WhenDown};

const ACTOR: &str = "console";

async fn audit(world: &World) -> Vec<(String, String)> {
    let entries = world.read(|tx| tx.audit_log(None, 10)).await;
    let actor_and_action = |entry: AuditEntry| (entry.actor, entry.action);
    entries.into_iter().map(actor_and_action).collect()
}

fn entry(actor: &str, action: &str) -> (String, String) {
    (actor.to_owned(), action.to_owned())
}

#[tokio::test]
async fn a_content_in_quarantine_is_withheld_under_all_its_ids() {
    let world = World::new(|_| {});
    world.peer(|_| whole("the same"));
    let first = world.upload(b"the same").await.unwrap();
    let second = world.upload(b"the same").await.unwrap();
    let other = world.upload(b"another").await.unwrap();
    world.fetch("m").await.unwrap();
    let target: Target = format!("mxc://own.lu/{first}").parse().unwrap();
    let reason = "it is forbidden".to_owned();
    let sha256 = world.media.quarantine(target, reason, ACTOR.to_owned());
    let sha256 = sha256.await.unwrap();

    for id in [&first, &second] {
        assert!(matches!(world.local(id).await, Err(Error::Quarantined)));
    }
    for id in ["m", "not-fetched"] {
        let answer = world.fetch_error(id).await;
        assert!(matches!(answer, Error::Quarantined), "{id}");
    }
    let again = world.upload(b"the same").await;
    assert!(matches!(again, Err(Error::NotAllowed)));
    world.local(&other).await.unwrap();
    let listed = world.media.quarantined(None, 10).await.unwrap();
    assert_eq!((listed.len(), listed[0].sha256), (1, sha256));

    let unknown: Target = "mxc://peer.lu/unknown".parse().unwrap();
    let unknown = world.media.end_quarantine(unknown, ACTOR.to_owned()).await;
    assert!(matches!(unknown, Err(Error::NotFound)));
    let target = Target::Content(sha256);
    let ended = world.media.end_quarantine(target.clone(), ACTOR.to_owned());
    assert_eq!(ended.await.unwrap(), sha256);
    assert_eq!(world.fetch("m").await.unwrap(), b"the same");
    let twice = world.media.end_quarantine(target, ACTOR.to_owned()).await;
    assert!(matches!(twice, Err(Error::NotFound)));
    let rows = [
        entry(ACTOR, "media.release"),
        entry(ACTOR, "media.quarantine"),
    ];
    assert_eq!(audit(&world).await, rows);
}

#[tokio::test]
async fn a_content_can_be_forbidden_before_it_comes() {
    let world = World::new(|_| {});
    // The SHA-256 of nothing.
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let target: Target = empty.parse().unwrap();
    let quarantined = world
        .media
        .quarantine(target, "empty".to_owned(), ACTOR.to_owned());
    quarantined.await.unwrap();
    let refused = world.upload(b"").await;
    assert!(matches!(refused, Err(Error::NotAllowed)));
    assert!(world.files().is_empty());
    for bad in [
        "",
        "own.lu/m",
        "https://own.lu/m",
        "mxc://own.lu",
        &empty[1..],
    ] {
        let target = bad.parse::<Target>();
        assert!(matches!(target, Err(Error::InvalidTarget(_))), "{bad}");
    }
}

#[tokio::test]
async fn an_operator_lists_and_deletes() {
    let world = World::new(|_| {});
    world.peer(|id| whole(&id));
    let own = server_name!("own.lu").to_owned();
    let peer = server_name!("peer.lu").to_owned();
    let id = world.upload(b"an upload").await.unwrap();
    world.fetch("m").await.unwrap();
    let alice = user_id!("@alice:own.lu");
    let uploads = world
        .media
        .uploads_of(alice, String::new(), 10)
        .await
        .unwrap();
    assert_eq!((uploads.len(), &uploads[0].media_id), (1, &id));
    let nobody = user_id!("@nobody:own.lu");
    let nobody = world.media.uploads_of(nobody, String::new(), 10).await;
    assert!(matches!(nobody, Err(Error::NotFound)));

    let delete = async |server, id: &str| {
        let deleted = world.media.delete(server, id.to_owned(), ACTOR.to_owned());
        deleted.await
    };
    delete(own.clone(), &id).await.unwrap();
    delete(peer, "m").await.unwrap();
    assert!(matches!(delete(own, &id).await, Err(Error::NotFound)));
    assert!(matches!(world.local(&id).await, Err(Error::NotFound)));
    assert!(world.files().is_empty());
    assert_eq!(audit(&world).await.len(), 2);
}

/// A clamd that finds what contains "EICAR", for as long as it is held.
struct Clamd {
    task: tokio::task::JoinHandle<()>,
    scans: Arc<std::sync::atomic::AtomicUsize>,
}

impl Clamd {
    fn start(socket: &std::path::Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let scans = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&scans);
        let task = tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut command = Vec::new();
                while !command.ends_with(&[0]) {
                    command.push(connection.read_u8().await.unwrap());
                }
                let answer: &[u8] = if command == b"zPING\0" {
                    b"PONG\0"
                } else {
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let mut content = Vec::new();
                    loop {
                        let length = connection.read_u32().await.unwrap();
                        if length == 0 {
                            break;
                        }
                        let mut chunk = vec![0; usize::try_from(length).unwrap()];
                        connection.read_exact(&mut chunk).await.unwrap();
                        content.extend(chunk);
                    }
                    if content.windows(5).any(|part| part == b"EICAR") {
                        b"stream: Eicar-Signature FOUND\0"
                    } else {
                        b"stream: OK\0"
                    }
                };
                connection.write_all(answer).await.unwrap();
            }
        });
        Self { task, scans }
    }

    fn scans(&self) -> usize {
        self.scans.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn scanned(socket: &std::path::Path, when_down: WhenDown) -> World {
    World::new(|config| {
        config.scanner = Some(ScannerConfig {
            service: ScanService::Clamd(ScannerAddress::Unix(socket.to_owned())),
            when_down,
            time: PATIENCE,
        });
    })
}

#[tokio::test]
async fn a_content_is_scanned_once_before_it_is_handed_out() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("clamd");
    let world = scanned(&socket, WhenDown::Refuse);
    world.peer(|id| whole(&id));
    let clean = world.upload(b"nothing bad").await.unwrap();
    let bad = world.upload(b"an EICAR file").await.unwrap();
    assert!(matches!(world.local(&clean).await, Err(Error::NotScanned)));
    assert!(matches!(
        world.media.usage().await.unwrap().scanner,
        ScannerState::Down { .. }
    ));

    let clamd = Clamd::start(&socket);
    assert_eq!(world.media.usage().await.unwrap().scanner, ScannerState::Up);
    for found in join_all((0..10).map(|_| world.local(&clean))).await {
        assert_eq!(all(found.unwrap()).await, b"nothing bad");
    }
    assert_eq!(clamd.scans(), 1);
    for answer in join_all((0..10).map(|_| world.local(&bad))).await {
        assert!(matches!(answer, Err(Error::Quarantined)));
    }
    assert_eq!(clamd.scans(), 2);
    assert!(matches!(
        world.fetch_error("EICAR").await,
        Error::Quarantined
    ));
    world.fetch("fine").await.unwrap();
    let usage = world.media.usage().await.unwrap();
    assert_eq!(
        (usage.local_bytes, usage.cache_bytes, usage.quarantined),
        (24, 9, 2)
    );
    let rows = [
        entry("scanner", "media.quarantine"),
        entry("scanner", "media.quarantine"),
    ];
    assert_eq!(audit(&world).await, rows);

    // What was found clean stays so when the scanner goes; what the operator lets out, too.
    clamd.task.abort();
    std::fs::remove_file(&socket).unwrap();
    world.local(&clean).await.unwrap();
    let target = format!("mxc://own.lu/{bad}").parse().unwrap();
    let released = world.media.end_quarantine(target, ACTOR.to_owned());
    released.await.unwrap();
    world.local(&bad).await.unwrap();
}

#[tokio::test]
async fn a_site_may_deliver_without_its_scanner() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("clamd");
    let world = scanned(&socket, WhenDown::Deliver);
    let bad = world.upload(b"an EICAR file").await.unwrap();
    world.local(&bad).await.unwrap();
    let _clamd = Clamd::start(&socket);
    assert!(matches!(world.local(&bad).await, Err(Error::Quarantined)));
}
