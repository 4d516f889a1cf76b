//! Which state comes with lazy loading.

use luxchat_sync::SyncRequest;
use serde_json::{Value, json};

use crate::world::*;

const LAZY: &str = r#"{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":1}}}"#;

fn lazy() -> Value {
    serde_json::from_str(LAZY).unwrap()
}

fn members(room: &ruma::api::client::sync::sync_events::v3::JoinedRoom) -> Vec<String> {
    let state = state_events(&room.state);
    let members = state
        .iter()
        .filter(|event| event["type"] == "m.room.member");
    let mut members: Vec<_> = members
        .map(|event| event["state_key"].as_str().unwrap().to_owned())
        .collect();
    members.sort();
    members
}

#[tokio::test]
async fn lazily_only_those_who_speak_are_told() {
    let world = World::with_room().await;
    let name = json!({ "name": "named, so that nobody is a hero" });
    world
        .state(the_room(), alice(), "m.room.name", "", name)
        .await;
    world.member(the_room(), bob(), bob(), "join").await;
    world.member(the_room(), eve(), eve(), "join").await;
    world.message(the_room(), eve(), "hello").await;
    let response = world.sync(alice(), filtered(lazy())).await;
    assert_eq!(
        members(joined(&response, the_room())),
        [alice().as_str(), eve().as_str()]
    );

    let since = token(&response);
    world.message(the_room(), bob(), "hello").await;
    let response = world.sync(alice(), since_request(since, lazy())).await;
    assert_eq!(members(joined(&response, the_room())), [bob().as_str()]);
}

#[tokio::test]
async fn lazily_heroes_are_told() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    world.message(the_room(), alice(), "hello").await;
    let response = world.sync(alice(), filtered(lazy())).await;
    let room = joined(&response, the_room());
    assert_eq!(room.summary.heroes, [bob()]);
    assert_eq!(members(room), [alice().as_str(), bob().as_str()]);
}

#[tokio::test]
async fn lazily_a_member_is_told_as_they_were_before_the_timeline() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    let since = token(&world.initial(alice()).await);
    let renamed = json!({ "membership": "join", "displayname": "Bobby" });
    world
        .state(the_room(), bob(), "m.room.member", bob().as_str(), renamed)
        .await;
    // The change itself is the timeline: there is nothing to add to it.
    let response = world.sync(alice(), since_request(since, lazy())).await;
    assert!(members(joined(&response, the_room())).is_empty());

    world.message(the_room(), bob(), "hello").await;
    let response = world.sync(alice(), since_request(since, lazy())).await;
    let state = state_events(&joined(&response, the_room()).state);
    assert_eq!(state.len(), 1);
    assert_eq!(state[0]["content"]["displayname"], "Bobby");
}

#[tokio::test]
async fn full_state_is_all_of_it() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    let since = token(&world.initial(alice()).await);
    let request = SyncRequest {
        full_state: true,
        ..since_request(since, json!({}))
    };
    let response = world.sync(alice(), request).await;
    let room = joined(&response, the_room());
    assert_eq!(state_events(&room.state).len(), 6);
    assert!(room.timeline.events.is_empty());
    assert!(!room.timeline.limited);
}
