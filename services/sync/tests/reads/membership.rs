//! Invites, joins, leaves, bans.

use serde_json::json;

use crate::world::*;

#[tokio::test]
async fn an_invite_shows_some_of_the_room() {
    let world = World::with_room().await;
    let name = json!({ "name": "a name" });
    world
        .state(the_room(), alice(), "m.room.name", "", name)
        .await;
    let since = token(&world.initial(bob()).await);
    world.member(the_room(), alice(), bob(), "invite").await;
    for response in [world.since(bob(), since).await, world.initial(bob()).await] {
        let events = plain(&response.rooms.invite[the_room()].invite_state.events);
        let types: Vec<_> = events.iter().map(|event| &event["type"]).collect();
        assert!(types.contains(&&json!("m.room.name")));
        assert!(types.contains(&&json!("m.room.create")));
        assert!(!types.contains(&&json!("m.room.power_levels")));
        let own = events.last().unwrap();
        assert_eq!(own["content"]["membership"], "invite");
        assert_eq!(own["state_key"], bob().as_str());
    }
}

#[tokio::test]
async fn who_joins_is_told_the_whole_state() {
    let world = World::with_room().await;
    world.message(the_room(), alice(), "old").await;
    let since = token(&world.initial(bob()).await);
    world.member(the_room(), bob(), bob(), "join").await;
    let filter = json!({ "room": { "timeline": { "limit": 2 } } });
    let response = world.sync(bob(), since_request(since, filter)).await;
    let room = joined(&response, the_room());
    assert_eq!(bodies(&room.timeline.events), ["old", "m.room.member"]);
    assert!(room.timeline.limited);
    assert_eq!(state_events(&room.state).len(), 5);
    assert_eq!(room.summary.joined_member_count, Some(2_u32.into()));
    assert_eq!(room.summary.heroes, [alice()]);
}

#[tokio::test]
async fn who_leaves_hears_no_more() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    let since = token(&world.initial(bob()).await);
    world.message(the_room(), alice(), "bye").await;
    let topic = json!({ "topic": "while bob is here" });
    world
        .state(the_room(), alice(), "m.room.topic", "", topic)
        .await;
    world.member(the_room(), bob(), bob(), "leave").await;
    world.message(the_room(), alice(), "unheard").await;
    let topic = json!({ "topic": "unheard" });
    world
        .state(the_room(), alice(), "m.room.topic", "", topic)
        .await;

    let filter = json!({ "room": { "timeline": { "limit": 1 } } });
    let response = world.sync(bob(), since_request(since, filter)).await;
    let left = &response.rooms.leave[the_room()];
    assert_eq!(bodies(&left.timeline.events), ["m.room.member"]);
    assert!(left.timeline.limited);
    let state = state_events(&left.state);
    assert_eq!(state.len(), 1);
    assert_eq!(state[0]["content"]["topic"], "while bob is here");

    let since = token(&response);
    assert!(world.since(bob(), since).await.rooms.is_empty());
    assert!(world.initial(bob()).await.rooms.is_empty());
    let filter = json!({ "room": { "include_leave": true } });
    let response = world.sync(bob(), filtered(filter)).await;
    let left = &response.rooms.leave[the_room()];
    assert_eq!(
        bodies(&left.timeline.events).last().unwrap(),
        "m.room.member"
    );
    let all = plain(&left.timeline.events).into_iter();
    let all: Vec<_> = all.chain(state_events(&left.state)).collect();
    assert!(
        !all.iter()
            .any(|event| event["content"]["topic"] == "unheard")
    );
}

#[tokio::test]
async fn an_invite_that_is_refused_leaves() {
    let world = World::with_room().await;
    world.member(the_room(), alice(), bob(), "invite").await;
    let since = token(&world.initial(bob()).await);
    world.member(the_room(), bob(), bob(), "leave").await;
    let response = world.since(bob(), since).await;
    assert!(response.rooms.invite.is_empty());
    let left = &response.rooms.leave[the_room()];
    // Nothing but what concerns Bob, who never was in the room.
    for event in plain(&left.timeline.events) {
        assert_eq!(event["state_key"], bob().as_str());
    }
    assert!(state_events(&left.state).is_empty());
}

#[tokio::test]
async fn who_comes_back_is_told_what_changed() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    world.member(the_room(), bob(), bob(), "leave").await;
    let since = token(&world.initial(bob()).await);
    let topic = json!({ "topic": "meanwhile" });
    world
        .state(the_room(), alice(), "m.room.topic", "", topic)
        .await;
    world.member(the_room(), bob(), bob(), "join").await;
    let filter = json!({ "room": { "timeline": { "limit": 1 } } });
    let response = world.sync(bob(), since_request(since, filter)).await;
    let state = state_events(&joined(&response, the_room()).state);
    assert!(
        state
            .iter()
            .any(|event| event["content"]["topic"] == "meanwhile")
    );
    assert!(state.iter().any(|event| event["type"] == "m.room.create"));
}

#[tokio::test]
async fn device_lists_follow_who_is_around() {
    let world = World::with_room().await;
    let since = token(&world.initial(alice()).await);
    world.member(the_room(), bob(), bob(), "join").await;
    let response = world.since(alice(), since).await;
    assert_eq!(response.device_lists.changed, [bob()]);
    let since = token(&response);
    world.member(the_room(), bob(), bob(), "leave").await;
    let response = world.since(alice(), since).await;
    assert_eq!(response.device_lists.left, [bob()]);
}
