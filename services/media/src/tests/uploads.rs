use ruma::http_headers::ContentDispositionType;

use super::*;

#[tokio::test]
async fn what_is_uploaded_is_found_and_kept_once() {
    let world = World::new(|_| {});
    let first = world.upload(b"the same bytes").await.unwrap();
    let second = world.upload(b"the same bytes").await.unwrap();
    let empty = world.upload(b"").await.unwrap();
    assert_ne!(first, second);
    assert_eq!(world.files().len(), 2);

    let found = world.local(&second).await.unwrap();
    assert_eq!(found.content_type(), "text/plain");
    let disposition = found.disposition(None);
    assert_eq!(disposition.disposition_type, ContentDispositionType::Inline);
    assert_eq!(disposition.filename.as_deref(), Some("Äppel.txt"));
    assert_eq!(all(found).await, b"the same bytes");
    let found = world.local(&first).await.unwrap();
    assert_eq!(part(found, 4, 4).await, b"same");
    let found = world.local(&empty).await.unwrap();
    assert_eq!(all(found).await, b"");
    let missing = world.local("missing").await;
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
async fn what_one_server_wraps_another_unwraps() {
    let world = World::new(|_| {});
    let id = world
        .upload(b"--b\r\nfor another server\r\n--")
        .await
        .unwrap();
    let wrapped = envelope(&world.local(&id).await.unwrap());
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
    let text = world.local(&text).await.unwrap();
    let refused = world.media.as_thumbnail(text);
    assert!(matches!(refused, Err(Error::NoThumbnail)));
}

#[tokio::test]
async fn the_box_has_a_quota_as_well() {
    let world = World::new(|config| config.quota_bytes = Some(15));
    world.upload(b"ten bytes!").await.unwrap();
    let over = world.upload(b"six by").await;
    assert!(matches!(over, Err(Error::SiteQuotaExceeded)));
    let announced = upload(&world.media, b"", Some(6)).await;
    assert!(matches!(announced, Err(Error::SiteQuotaExceeded)));
    assert_eq!(world.files().len(), 1);
}

/// Uploads to an id that was given out.
async fn fill(world: &World, id: &str, bytes: &'static [u8]) -> Result<()> {
    let own = server_name!("own.lu");
    let body = stream::iter(chunks(bytes));
    world.media.upload_to(own, id, described(None), body).await
}

#[tokio::test]
async fn whoever_waits_for_an_upload_gets_it_when_it_is_there() {
    let world = World::new(|_| {});
    let alice = user_id!("@alice:own.lu");
    let id = world
        .media
        .reserve(alice.to_owned())
        .await
        .unwrap()
        .media_id;
    let early = world.local(&id).await;
    assert!(matches!(early, Err(Error::NotYet)));
    let waiting = join_all((0..20).map(|_| world.media.local(&id, PATIENCE)));
    let (waited, filled) = tokio::join!(waiting, fill(&world, &id, b"it is here"));
    filled.unwrap();
    for found in waited {
        assert_eq!(all(found.unwrap()).await, b"it is here");
    }
    let again = fill(&world, &id, b"something else").await;
    assert!(matches!(again, Err(Error::AlreadyUploaded)));
    assert_eq!(all(world.local(&id).await.unwrap()).await, b"it is here");
}

#[tokio::test]
async fn of_two_uploads_to_one_id_one_stays_and_the_other_leaves_nothing() {
    let world = World::new(|_| {});
    let alice = user_id!("@alice:own.lu");
    let id = world
        .media
        .reserve(alice.to_owned())
        .await
        .unwrap()
        .media_id;
    let both = tokio::join!(fill(&world, &id, b"one"), fill(&world, &id, b"two"));
    assert!(both.0.is_ok() != both.1.is_ok(), "{both:?}");
    let ((Err(lost), _) | (_, Err(lost))) = both else {
        panic!("both were taken");
    };
    assert!(matches!(lost, Error::AlreadyUploaded));
    assert_eq!(world.files().len(), 1);
}

#[tokio::test]
async fn ids_are_for_their_user_and_for_a_day() {
    let world = World::new(|_| {});
    let bob = user_id!("@bob:own.lu");
    let his = world.media.reserve(bob.to_owned()).await.unwrap();
    let stolen = fill(&world, &his.media_id, b"alice's").await;
    assert!(matches!(stolen, Err(Error::NotYours)));
    let alice = user_id!("@alice:own.lu");
    let hers = world.media.reserve(alice.to_owned()).await.unwrap();
    assert_eq!(hers.expires_ts, 1_000_000 + 24 * 3_600_000);
    world.clock.advance(Duration::from_hours(24));
    let late = fill(&world, &hers.media_id, b"late").await;
    assert!(matches!(late, Err(Error::NotFound)));
    let expired = world.media.local(&hers.media_id, PATIENCE).await;
    assert!(matches!(expired, Err(Error::NotFound)));
    world.clock.advance(Duration::from_hours(1));
    world.media.maintain().await.unwrap();
    let id = hers.media_id;
    assert_eq!(world.read(move |tx| tx.pending_media(&id)).await, None);
}

#[tokio::test]
async fn what_came_before_the_freeze_needs_no_token() {
    let world = World::new(|config| config.unauthenticated_until = Some(1_500_000));
    world.peer(|_| whole("cached"));
    let own = server_name!("own.lu");
    let peer = server_name!("peer.lu");
    let bare = async |server, id: &str, may_fetch| {
        let media = world
            .media
            .get_unauthenticated(server, id, NO_PATIENCE, may_fetch);
        media.await.map(drop)
    };
    let old = world.upload(b"old").await.unwrap();
    bare(own, &old, false).await.unwrap();
    assert!(matches!(
        bare(peer, "old", false).await,
        Err(Error::NotFound)
    ));
    let fetched = world.media.get_unauthenticated(peer, "old", PATIENCE, true);
    fetched.await.unwrap();
    world.clock.advance(Duration::from_secs(500));
    let new = world.upload(b"new").await.unwrap();
    bare(own, &old, false).await.unwrap();
    bare(peer, "old", false).await.unwrap();
    assert!(matches!(bare(own, &new, true).await, Err(Error::NotFound)));
    // What is fetched now is new, however old it is over there.
    assert!(matches!(
        bare(peer, "new", true).await,
        Err(Error::NotFound)
    ));
    world.fetch("new").await.unwrap();
    assert!(matches!(
        bare(peer, "new", true).await,
        Err(Error::NotFound)
    ));

    let frozen = World::new(|_| {});
    let id = frozen.upload(b"any").await.unwrap();
    let refused = frozen.media.get_unauthenticated(own, &id, PATIENCE, true);
    assert!(matches!(refused.await, Err(Error::NotFound)));
}
