//! Who types.

use std::time::Duration;

use luxchat_sync::{Error, SyncRequest};
use ruma::{api::federation::transactions::edu::TypingContent, server_name};
use serde_json::json;

use crate::world::*;

const A_WHILE: Duration = Duration::from_millis(200);

async fn typists(world: &World, since: luxchat_sync::SyncToken) -> Option<serde_json::Value> {
    let response = world.since(alice(), since).await;
    let room = response.rooms.join.get(the_room())?;
    Some(plain(&room.ephemeral.events)[0]["content"]["user_ids"].clone())
}

#[tokio::test]
async fn typing_shows_until_it_stops() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    let since = world.position().await;
    let minute = Duration::from_mins(1);
    world.typing.start(bob(), the_room(), minute).await.unwrap();
    assert_eq!(typists(&world, since).await, Some(json!([bob()])));
    let since = world.position().await;
    // Going on is no news.
    world.typing.start(bob(), the_room(), minute).await.unwrap();
    assert_eq!(typists(&world, since).await, None);
    world.typing.stop(bob(), the_room()).await.unwrap();
    assert_eq!(typists(&world, since).await, Some(json!([])));
}

#[tokio::test]
async fn typing_expires_and_wakes() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    let mut since = world.position().await;
    world
        .typing
        .start(bob(), the_room(), A_WHILE)
        .await
        .unwrap();
    let viewer = world.viewer(alice()).await;
    loop {
        let request = SyncRequest {
            since: Some(since),
            timeout: Duration::from_mins(1),
            ..SyncRequest::default()
        };
        let response = world.sync.sync_v3(viewer.clone(), request).await.unwrap();
        let typing = plain(&joined(&response, the_room()).ephemeral.events);
        if typing[0]["content"]["user_ids"] == json!([]) {
            break;
        }
        since = token(&response);
    }
}

#[tokio::test]
async fn who_is_not_there_does_not_type() {
    let world = World::with_room().await;
    world.member(the_room(), eve(), eve(), "join").await;
    let started = world.typing.start(bob(), the_room(), A_WHILE).await;
    assert!(matches!(started, Err(Error::Forbidden(_))));

    let since = world.position().await;
    let two = server_name!("two");
    let content =
        |user: &str| TypingContent::new(the_room().to_owned(), user.try_into().unwrap(), true);
    world
        .typing
        .receive(two, content(alice().as_str()))
        .await
        .unwrap();
    world
        .typing
        .receive(two, content("@mallory:two"))
        .await
        .unwrap();
    assert_eq!(typists(&world, since).await, None);
    world
        .typing
        .receive(two, content(eve().as_str()))
        .await
        .unwrap();
    assert_eq!(typists(&world, since).await, Some(json!([eve()])));
}

#[tokio::test]
async fn other_servers_in_the_room_are_to_be_told() {
    let world = World::with_room().await;
    let told = world
        .typing
        .start(alice(), the_room(), A_WHILE)
        .await
        .unwrap();
    assert!(told.is_empty());
    world.member(the_room(), eve(), eve(), "join").await;
    world.typing.stop(alice(), the_room()).await.unwrap();
    let told = world
        .typing
        .start(alice(), the_room(), A_WHILE)
        .await
        .unwrap();
    assert_eq!(told, ["two"]);
}
