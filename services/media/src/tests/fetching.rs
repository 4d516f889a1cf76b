use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;

use super::*;

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
            "short" => format!("{head}Content-Length: 5\r\n\r\nfour\r\n--b--"),
            "long" => format!("{head}Content-Length: 5\r\n\r\nsix by\r\n--b--"),
            "no-number" => format!("{head}Content-Length: -4\r\n\r\nfour\r\n--b--"),
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
    let liars = [
        "kind",
        "truncated",
        "short",
        "long",
        "no-number",
        "redirect",
        "stalled",
    ];
    for id in liars {
        let answer = world.fetch(id).await;
        assert!(matches!(answer, Err(Error::InvalidAnswer { .. })), "{id}");
    }
    let large = world.fetch("large").await;
    assert!(matches!(large, Err(Error::RemoteTooLarge(100))));
    assert!(world.files().is_empty());
    assert_eq!(world.read(|tx| tx.remote_media_bytes()).await, 0);
    for id in liars.into_iter().chain(["large"]) {
        let peer = server_name!("peer.lu");
        assert_eq!(world.read(move |tx| tx.remote_media(peer, id)).await, None);
    }
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
async fn a_type_that_is_none_and_a_hostile_name_are_not_kept() {
    let world = World::new(|_| {});
    world.peer(|_| {
        let head = "--b\r\n\r\n{}\r\n--b\r\nContent-Type: no type \u{1}\r\n\
                    Content-Disposition: inline; filename=\"../../etc/passwd\"\r\n\r\n";
        let body = Body::from(format!("{head}content\r\n--b--"));
        ("multipart/mixed; boundary=b".to_owned(), body)
    });
    let peer = server_name!("peer.lu");
    let found = world.media.get(peer, "m", PATIENCE).await.unwrap();
    assert_eq!(found.content_type(), "application/octet-stream");
    let disposition = found.disposition(None);
    assert_eq!(disposition.disposition_type.as_str(), "attachment");
    // It is a name to save by, and no path of this server: contents are named by their hashes.
    assert_eq!(disposition.filename.as_deref(), Some("../../etc/passwd"));
    assert_eq!(world.files().len(), 1);
}

/// A peer that refuses everything but `path`.
fn picky(world: &World, path: &str, status: StatusCode, refusal: &'static str) {
    let answer = async || ([(header::CONTENT_TYPE, "image/png")], "from before");
    let router = Router::new()
        .route(path, get(answer))
        .fallback(move || async move { (status, refusal) });
    world
        .network
        .attach(server_name!("peer.lu").to_owned(), router);
}

#[tokio::test]
async fn a_peer_s_upload_is_waited_for() {
    let world = World::new(|_| {});
    let refusal = r#"{"errcode":"M_NOT_YET_UPLOADED","error":"soon"}"#;
    picky(&world, "/nothing", StatusCode::GATEWAY_TIMEOUT, refusal);
    assert!(matches!(world.fetch("m").await, Err(Error::NotYet)));
    let refusal = r#"{"errcode":"M_NOT_FOUND","error":"never"}"#;
    picky(&world, "/nothing", StatusCode::NOT_FOUND, refusal);
    assert!(matches!(world.fetch("m").await, Err(Error::NotFound)));
}

#[tokio::test]
async fn servers_of_before_are_asked_as_before_where_the_site_allows_it() {
    let path = "/_matrix/media/v3/download/peer.lu/{id}";
    let unknown = r#"{"errcode":"M_UNRECOGNIZED","error":"what?"}"#;
    let world = World::new(|config| config.fetch_unauthenticated = true);
    picky(&world, path, StatusCode::NOT_FOUND, unknown);
    assert_eq!(world.fetch("m").await.unwrap(), b"from before");
    picky(&world, path, StatusCode::BAD_REQUEST, "what?");
    assert_eq!(world.fetch("n").await.unwrap(), b"from before");
    let forbidden = r#"{"errcode":"M_FORBIDDEN","error":"no"}"#;
    picky(&world, path, StatusCode::FORBIDDEN, forbidden);
    assert!(matches!(world.fetch("o").await, Err(Error::Remote(_))));

    let world = World::new(|_| {});
    picky(&world, path, StatusCode::NOT_FOUND, unknown);
    assert!(matches!(world.fetch("m").await, Err(Error::Remote(_))));
}
