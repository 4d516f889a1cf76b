use std::{fs, path::Path};

use super::*;

#[tokio::test]
async fn a_sweep_removes_orphans_alone() {
    let world = World::new(|_| {});
    let id = world.upload(b"kept").await.unwrap();
    let orphan = world.config.folder.join("ab/cd").join("e".repeat(60));
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, "left by a crash").unwrap();
    let unfinished = world.config.folder.join("scratch/unfinished");
    fs::write(unfinished, "left by a crash").unwrap();

    let media = open(&world.store, &world.network, &world.config);
    media.sweep().await.unwrap();
    assert!(!Path::exists(&orphan));
    assert_eq!(world.files().len(), 1);
    let found = media.local(&id, NO_PATIENCE).await.unwrap();
    assert_eq!(all(found).await, b"kept");
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
    world.local(&uploaded.unwrap()).await.unwrap();
}

#[tokio::test]
async fn rows_whose_files_are_gone_are_fetched_again_and_uploads_wait_for_a_backup() {
    let world = World::new(|_| {});
    world.peer(|id| whole(&id));
    let id = world.upload(b"uploaded").await.unwrap();
    world.fetch("cached").await.unwrap();
    world.fetch("kept").await.unwrap();
    let is_lost = |path: &&PathBuf| {
        let text = fs::read(path).unwrap();
        text == b"uploaded" || text == b"cached"
    };
    let files = world.files();
    for lost in files.iter().filter(is_lost) {
        fs::remove_file(lost).unwrap();
    }
    assert_eq!(world.files().len(), 1);
    world.media.sweep().await.unwrap();
    assert_eq!(world.read(|tx| tx.remote_media_bytes()).await, 4);
    assert_eq!(world.fetch("cached").await.unwrap(), b"cached");
    assert!(matches!(world.local(&id).await, Err(Error::NotFound)));
    // The same bytes bring the first upload back, as a backup would.
    world.upload(b"uploaded").await.unwrap();
    assert_eq!(all(world.local(&id).await.unwrap()).await, b"uploaded");
    world.media.sweep().await.unwrap();
    assert_eq!(world.files().len(), 3);
}

#[tokio::test]
async fn a_file_whose_removal_was_cut_short_is_removed_later() {
    let world = World::new(|_| {});
    let id = world.upload(b"deleted").await.unwrap();
    // A crash between the commit and the removal.
    let deleted = world.store.write(move |tx| tx.delete_local_media(&id));
    assert!(deleted.await.unwrap());
    assert_eq!(world.files().len(), 1);
    world.media.maintain().await.unwrap();
    assert!(world.files().is_empty());
    assert!(world.read(|tx| tx.media_removals(1)).await.is_empty());
}

#[tokio::test]
async fn what_nobody_looks_at_leaves_the_cache_in_time() {
    let world = World::new(|config| config.cache_time = Some(Duration::from_hours(48)));
    world.peer(|id| whole(&id));
    world.fetch("seen").await.unwrap();
    world.fetch("unseen").await.unwrap();
    let uploaded = world.upload(b"uploaded").await.unwrap();
    world.clock.advance(Duration::from_hours(47));
    world.fetch("seen").await.unwrap();
    world.clock.advance(Duration::from_hours(2));
    world.media.maintain().await.unwrap();
    world.network.detach(server_name!("peer.lu"));
    world.fetch("seen").await.unwrap();
    assert!(world.fetch("unseen").await.is_err());
    world.local(&uploaded).await.unwrap();
    assert_eq!(world.files().len(), 2);
}

#[tokio::test]
async fn uploads_go_after_the_retention_time() {
    let world = World::new(|config| config.retention = Some(Duration::from_hours(24)));
    let old = world.upload(b"old").await.unwrap();
    world.clock.advance(Duration::from_hours(23));
    let new = world.upload(b"new").await.unwrap();
    world.media.maintain().await.unwrap();
    world.local(&old).await.unwrap();
    world.clock.advance(Duration::from_hours(2));
    world.media.maintain().await.unwrap();
    assert!(matches!(world.local(&old).await, Err(Error::NotFound)));
    world.local(&new).await.unwrap();
    assert_eq!(world.files().len(), 1);
}

#[tokio::test]
async fn an_erased_user_s_uploads_go_with_their_files() {
    let world = World::new(|_| {});
    let mut ids = Vec::new();
    for bytes in [&b"one"[..], b"two", b"two"] {
        ids.push(world.upload(bytes).await.unwrap());
    }
    let erased: luxchat_store::Result<()> = world
        .store
        .write(|tx| {
            let alice = tx.user_nid_or_insert(user_id!("@alice:own.lu"))?;
            tx.erase_media_of(alice)
        })
        .await;
    erased.unwrap();
    for id in &ids {
        assert!(matches!(world.local(id).await, Err(Error::NotFound)));
    }
    world.media.maintain().await.unwrap();
    assert!(world.files().is_empty());
    assert_eq!(world.read(|tx| tx.local_media_bytes()).await, 0);
}

#[tokio::test]
async fn the_cache_gives_way_before_an_upload_is_refused() {
    let world = World::new(|_| {});
    world.peer(|id| whole(&id));
    world.fetch("cached").await.unwrap();
    let uploaded = world.upload(b"uploaded").await.unwrap();
    let mut config = world.config.clone();
    config.free_bytes = u64::MAX;
    let full = open(&world.store, &world.network, &config);
    assert!(matches!(
        upload(&full, b"x", None).await,
        Err(Error::DiskFull)
    ));
    assert_eq!(world.read(|tx| tx.remote_media_bytes()).await, 0);
    assert_eq!(world.files().len(), 1);
    world.local(&uploaded).await.unwrap();
}

#[tokio::test]
async fn ten_times_the_cache_never_takes_more_than_the_cache() {
    const CAP: u64 = 1_000_000;
    const SIZE: usize = 50_000;
    let world = World::new(|config| config.cache_bytes = CAP);
    world.peer(|id| whole(&format!("{id:>SIZE$}")));
    for round in 0..20 {
        let ids: Vec<String> = (0..10).map(|number| format!("m{round}-{number}")).collect();
        for fetched in join_all(ids.iter().map(|id| world.fetch(id))).await {
            assert_eq!(fetched.unwrap().len(), SIZE);
            assert!(world.read(|tx| tx.remote_media_bytes()).await <= CAP);
        }
        world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(world.read(|tx| tx.remote_media_bytes()).await, CAP);
    assert_eq!(world.files().len() as u64, CAP / SIZE as u64);
}
