//! Fetching from a directory over real sockets.

use std::time::Duration;

use axum::{Router, routing::get};
use luxchat_bundle::{Bundle, DirectoryPointer, Members, Role, Source, SourceError};

use super::BASE;
use crate::{
    Config, EnrolledDirectory,
    testing::{Nation, TestBox, active, now, revoked},
};

const FILE: &str = "metadata/timestamp.json";

fn router() -> Router {
    Router::new().route(&format!("{BASE}/{FILE}"), get(async || "signed"))
}

/// A list with a directory and a ministry.
fn list(nation: &Nation, directory: &TestBox, ministry: &TestBox) -> Bundle {
    let mut entry = directory.member(active());
    entry.role = Role::Directory;
    let members = vec![entry, ministry.member(active())];
    let authorities = vec![nation.authority.certificate().clone()];
    Bundle {
        members: Members::new(now(), authorities, members).unwrap(),
        ..nation.list(&[])
    }
}

fn enrolled(nation: &Nation, directory: &TestBox) -> EnrolledDirectory {
    EnrolledDirectory {
        pointer: DirectoryPointer {
            server_name: directory.name.as_str().parse().unwrap(),
            endpoints: vec![directory.address.into()],
        },
        authority: nation.authority.certificate().clone(),
    }
}

#[tokio::test]
async fn files_come_from_the_directory_of_the_list_within_their_limit() {
    let nation = Nation::new();
    let (mut directory, ministry) = (nation.make_box("dir.lu"), nation.make_box("a.lu"));
    let list = list(&nation, &directory, &ministry);
    let serving = directory.federation(list.clone());
    let _stop = directory.serve(&serving, router()).drop_guard();
    let source = ministry.federation(list).repository(None).unwrap();
    assert_eq!(source.fetch(FILE, 6).await.unwrap(), b"signed");
    let missing = source.fetch("metadata/2.root.json", 100).await;
    assert_eq!(missing, Err(SourceError::NotFound));
    let large = source.fetch(FILE, 5).await;
    assert!(matches!(large, Err(SourceError::Failed(_))), "{large:?}");
}

#[tokio::test]
async fn a_box_without_a_list_asks_the_directory_it_was_enrolled_with() {
    let nation = Nation::new();
    let (mut directory, ministry) = (nation.make_box("dir.lu"), nation.make_box("a.lu"));
    let serving = directory.federation(list(&nation, &directory, &ministry));
    let pointer = enrolled(&nation, &directory);
    let _stop = directory.serve(&serving, router()).drop_guard();
    let federation = ministry.federation_with(None, &Config::default());
    let source = federation.repository(Some(pointer)).unwrap();
    assert_eq!(source.fetch(FILE, 100).await.unwrap(), b"signed");

    let source = federation.repository(None).unwrap();
    let nobody = source.fetch(FILE, 100).await;
    assert!(matches!(nobody, Err(SourceError::Failed(_))), "{nobody:?}");
}

#[tokio::test]
async fn an_expired_list_does_not_keep_a_box_from_a_newer_one() {
    let nation = Nation::new();
    let (mut directory, ministry) = (nation.make_box("dir.lu"), nation.make_box("a.lu"));
    let list = list(&nation, &directory, &ministry);
    let serving = directory.federation(list.clone());
    let _stop = directory.serve(&serving, router()).drop_guard();
    let federation = ministry.federation(list);
    let source = federation.repository(None).unwrap();
    ministry.clock.advance(Duration::from_hours(25));
    federation
        .membership()
        .admit(
            &directory.name,
            luxchat_store::Clock::now_ms(&*ministry.clock),
        )
        .unwrap_err();
    assert_eq!(source.fetch(FILE, 100).await.unwrap(), b"signed");
}

#[tokio::test]
async fn a_revoked_directory_is_not_asked() {
    let nation = Nation::new();
    let (mut directory, ministry) = (nation.make_box("dir.lu"), nation.make_box("a.lu"));
    let good = list(&nation, &directory, &ministry);
    let serving = directory.federation(good);
    let mut entry = directory.member(revoked());
    entry.role = Role::Directory;
    let authorities = vec![nation.authority.certificate().clone()];
    let bad = Bundle {
        members: Members::new(now(), authorities, vec![entry]).unwrap(),
        ..nation.list(&[])
    };
    let _stop = directory.serve(&serving, router()).drop_guard();
    let source = ministry.federation(bad).repository(None).unwrap();
    let refused = source.fetch(FILE, 100).await;
    assert!(
        matches!(refused, Err(SourceError::Failed(_))),
        "{refused:?}"
    );
}
