//! What comes with which sync.

use std::time::Duration;

use luxchat_sync::SyncRequest;
use serde_json::json;

use crate::world::*;

#[tokio::test]
async fn an_initial_sync_tells_the_newest_events_and_the_state_before_them() {
    let world = World::with_room().await;
    for number in 0..12 {
        world
            .message(the_room(), alice(), &number.to_string())
            .await;
    }
    let response = world.initial(alice()).await;
    let room = joined(&response, the_room());
    assert_eq!(bodies(&room.timeline.events)[0], "2");
    assert_eq!(room.timeline.events.len(), 10);
    assert!(room.timeline.limited);
    assert_eq!(state_events(&room.state).len(), 5);
    assert_eq!(room.summary.joined_member_count, Some(1_u32.into()));
}

#[tokio::test]
async fn what_the_timeline_says_is_not_said_twice() {
    let world = World::with_room().await;
    let response = world.initial(alice()).await;
    let room = joined(&response, the_room());
    assert_eq!(room.timeline.events.len(), 5);
    assert!(!room.timeline.limited);
    assert!(state_events(&room.state).is_empty());
}

#[tokio::test]
async fn an_incremental_sync_speaks_of_what_changed_alone() {
    let world = World::with_room().await;
    let other = room_id("!other:one");
    world.room(&other, alice(), "shared").await;
    let since = token(&world.initial(alice()).await);
    assert!(world.since(alice(), since).await.rooms.is_empty());

    world.message(&other, alice(), "hello").await;
    let response = world.since(alice(), since).await;
    assert_eq!(response.rooms.join.len(), 1);
    let room = joined(&response, &other);
    assert_eq!(bodies(&room.timeline.events), ["hello"]);
    assert!(!room.timeline.limited);
    assert!(state_events(&room.state).is_empty());
}

#[tokio::test]
async fn a_limited_timeline_comes_with_the_state_that_changed_before_it() {
    let world = World::with_room().await;
    let since = token(&world.initial(alice()).await);
    let first = json!({ "topic": "first" });
    world
        .state(the_room(), alice(), "m.room.topic", "", first)
        .await;
    world.message(the_room(), alice(), "a").await;
    let name = json!({ "name": "a name" });
    world
        .state(the_room(), alice(), "m.room.name", "", name)
        .await;
    world.message(the_room(), alice(), "b").await;
    let second = json!({ "topic": "second" });
    world
        .state(the_room(), alice(), "m.room.topic", "", second)
        .await;

    let filter = json!({ "room": { "timeline": { "limit": 2 } } });
    let response = world
        .sync(alice(), since_request(since, filter.clone()))
        .await;
    let room = joined(&response, the_room());
    assert!(room.timeline.limited);
    assert_eq!(bodies(&room.timeline.events), ["b", "m.room.topic"]);
    let mut state: Vec<_> = state_events(&room.state)
        .iter()
        .map(|event| event["content"].to_string())
        .collect();
    state.sort();
    assert_eq!(state, [r#"{"name":"a name"}"#, r#"{"topic":"first"}"#]);

    let request = SyncRequest {
        use_state_after: true,
        ..since_request(since, filter)
    };
    let response = world.sync(alice(), request).await;
    let after = state_events(&joined(&response, the_room()).state);
    let topic = after.iter().find(|event| event["type"] == "m.room.topic");
    assert_eq!(topic.unwrap()["content"]["topic"], "second");
}

#[tokio::test]
async fn a_timeline_breaks_off_at_a_gap() {
    let world = World::with_room().await;
    let since = token(&world.initial(alice()).await);
    world.message(the_room(), alice(), "before").await;
    world
        .put(Put {
            room: the_room(),
            sender: eve(),
            event_type: "m.room.message",
            state_key: None,
            content: json!({ "body": "after the gap" }),
            prev_events: vec!["$missing"],
        })
        .await;
    world.message(the_room(), alice(), "later").await;
    let response = world.since(alice(), since).await;
    let timeline = &joined(&response, the_room()).timeline;
    assert!(timeline.limited);
    assert_eq!(bodies(&timeline.events), ["after the gap", "later"]);
}

#[tokio::test]
async fn events_tell_their_sender_their_transaction_and_all_what_they_replaced() {
    let world = World::with_room().await;
    let since = token(&world.initial(alice()).await);
    let event_id = world.message(the_room(), alice(), "mine").await;
    let nid = world.viewer(alice()).await.user;
    world
        .store
        .write(move |tx| {
            let room = tx.room_by_id(the_room())?.unwrap();
            let event = tx.event_nid(room.nid, &event_id)?;
            tx.insert_client_transaction(nid, "DEVICE", "send", "txn", event)
        })
        .await
        .unwrap();
    let renamed = json!({ "membership": "join", "displayname": "Al" });
    world
        .state(
            the_room(),
            alice(),
            "m.room.member",
            alice().as_str(),
            renamed,
        )
        .await;
    let response = world.since(alice(), since).await;
    let events = plain(&joined(&response, the_room()).timeline.events);
    assert_eq!(events[0]["unsigned"]["transaction_id"], "txn");
    assert_eq!(events[0]["unsigned"]["membership"], "join");
    assert!(events[0]["unsigned"]["age"].as_u64().unwrap() > 0);
    assert!(events[0].get("room_id").is_none());
    assert!(events[0].get("prev_events").is_none());
    let unsigned = &events[1]["unsigned"];
    assert_eq!(unsigned["prev_content"], json!({ "membership": "join" }));
    assert_eq!(unsigned["replaces_state"], "$event1");
}

#[tokio::test]
async fn filters_choose_rooms_types_and_senders() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    let since = token(&world.initial(alice()).await);
    world.message(the_room(), alice(), "from alice").await;
    world.message(the_room(), bob(), "from bob").await;
    world
        .event(the_room(), bob(), "m.reaction", json!({}))
        .await;

    let filter =
        json!({ "room": { "timeline": { "types": ["m.room.*"], "not_senders": [alice()] } } });
    let response = world.sync(alice(), since_request(since, filter)).await;
    assert_eq!(
        bodies(&joined(&response, the_room()).timeline.events),
        ["from bob"]
    );

    let filter = json!({ "room": { "not_rooms": [the_room()] } });
    let response = world.sync(alice(), since_request(since, filter)).await;
    assert!(response.rooms.is_empty());
}

#[tokio::test]
async fn ignored_users_say_nothing() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    let nid = world.viewer(alice()).await.user;
    let list = json!({ "ignored_users": { (bob()): {} } }).to_string();
    let list = serde_json::value::RawValue::from_string(list).unwrap();
    world
        .store
        .write(move |tx| tx.set_account_data(nid, "m.ignored_user_list", &list))
        .await
        .unwrap();
    let since = token(&world.initial(alice()).await);
    world.message(the_room(), bob(), "unheard").await;
    world.message(the_room(), alice(), "heard").await;
    let response = world.since(alice(), since).await;
    assert_eq!(
        bodies(&joined(&response, the_room()).timeline.events),
        ["heard"]
    );
}

#[tokio::test]
async fn a_waiting_sync_wakes_for_its_rooms_alone() {
    let world = World::with_room().await;
    let other = room_id("!other:one");
    world.room(&other, bob(), "shared").await;
    let since = token(&world.initial(alice()).await);
    let viewer = world.viewer(alice()).await;
    let request = SyncRequest {
        since: Some(since),
        timeout: Duration::from_mins(1),
        ..SyncRequest::default()
    };
    let sync = world.sync.clone();
    let waiting = tokio::spawn(async move { sync.sync_v3(viewer, request).await.unwrap() });
    world.message(&other, bob(), "elsewhere").await;
    world.message(the_room(), alice(), "here").await;
    let response = waiting.await.unwrap();
    assert_eq!(
        bodies(&joined(&response, the_room()).timeline.events),
        ["here"]
    );
    assert_eq!(response.rooms.join.len(), 1);
}

#[tokio::test]
async fn a_waiting_sync_hears_of_rooms_that_are_joined_meanwhile() {
    let world = World::with_room().await;
    let since = token(&world.initial(bob()).await);
    let viewer = world.viewer(bob()).await;
    let request = SyncRequest {
        since: Some(since),
        timeout: Duration::from_mins(1),
        ..SyncRequest::default()
    };
    let sync = world.sync.clone();
    let waiting = tokio::spawn(async move { sync.sync_v3(viewer, request).await.unwrap() });
    world.member(the_room(), bob(), bob(), "join").await;
    assert!(waiting.await.unwrap().rooms.join.contains_key(the_room()));
}

#[tokio::test]
async fn a_token_from_a_lost_future_starts_anew() {
    let world = World::with_room().await;
    let response = world.since(alice(), "999999".parse().unwrap()).await;
    assert!(response.rooms.join.contains_key(the_room()));
    assert_eq!(token(&response), world.position().await);
}

#[tokio::test]
async fn what_loses_in_a_fork_shows_but_does_not_count() {
    for visibility in ["shared", "joined"] {
        let world = World::new().await;
        world.room(the_room(), alice(), visibility).await;
        let topic = json!({ "topic": "wins" });
        let wins = world
            .state(the_room(), alice(), "m.room.topic", "", topic)
            .await;
        let since = token(&world.initial(alice()).await);
        let topic = json!({ "topic": "loses" });
        world.put_beside(eve(), "m.room.topic", topic, 1).await;
        let request = SyncRequest {
            use_state_after: true,
            ..since_request(since, json!({}))
        };
        let response = world.sync(alice(), request).await;
        let room = joined(&response, the_room());
        let timeline = plain(&room.timeline.events);
        assert_eq!(timeline[0]["event_id"], "$beside");
        assert_eq!(timeline[0]["unsigned"]["membership"], "join");
        // Where it was sent, there was no topic to replace.
        assert!(timeline[0]["unsigned"].get("replaces_state").is_none());
        assert!(state_events(&room.state).is_empty());
        let viewer = world.viewer(alice()).await;
        let kind = ruma::events::StateEventType::RoomTopic;
        let current = world
            .sync
            .state_event(viewer, the_room().to_owned(), kind, String::new())
            .await
            .unwrap();
        assert_eq!(plain(&[current])[0]["event_id"], wins.as_str());
    }
}
