//! History from before a server was in a room.

use ruma::{RoomVersionId, api::federation::event::get_event, events::StateEventType};
use serde_json::{Value, json};

use crate::nation::Nation;

#[tokio::test]
async fn history_is_fetched_piece_by_piece() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    let room = one.public_room(&alice, RoomVersionId::V12).await;
    for number in 0..120 {
        if number % 40 == 20 {
            one.name_room(&alice, &room, &format!("at {number}")).await;
        }
        one.say(&alice, &room, &number.to_string()).await;
    }
    two.join(&bob, &room, &[&one]).await.unwrap();
    assert!(two.bodies(&room).await.is_empty());

    assert_eq!(two.rooms.backfill(&room, 50).await.unwrap(), 50);
    let expected: Vec<String> = (71..120).map(|number| number.to_string()).collect();
    assert_eq!(two.bodies(&room).await, expected);
    while two.rooms.backfill(&room, 100).await.unwrap() > 0 {}
    let expected: Vec<String> = (0..120).map(|number| number.to_string()).collect();
    assert_eq!(two.bodies(&room).await, expected);

    // The state at each event is what it was.
    let ours = two.timeline(&room).await;
    let theirs = one.timeline(&room).await;
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        assert_eq!(ours.event_id, theirs.event_id);
        let our_state = two
            .store
            .read(move |tx| tx.state_map_at(ours.before.unwrap()))
            .await
            .unwrap();
        let their_state = one
            .store
            .read(move |tx| tx.state_map_at(theirs.before.unwrap()))
            .await
            .unwrap();
        assert_eq!(our_state, their_state, "before {}", ours.event_id);
    }
    assert_eq!(one.state(&room).await, two.state(&room).await);
}

#[tokio::test]
async fn what_was_for_members_alone_comes_without_content() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    let room = one.public_room(&alice, RoomVersionId::V11).await;
    one.say(&alice, &room, "for all to come").await;
    let content = json!({ "history_visibility": "joined" });
    let event_type = StateEventType::RoomHistoryVisibility.to_string();
    one.send(&alice, &room, &event_type, Some(""), content)
        .await
        .unwrap();
    let secret = one.say(&alice, &room, "for members").await;
    two.join(&bob, &room, &[&one]).await.unwrap();
    two.rooms.backfill(&room, 100).await.unwrap();
    assert_eq!(two.bodies(&room).await, ["for all to come"]);
    let event = two.event(&room, &secret).await.unwrap();
    assert_eq!(
        event.pdu().unwrap().content_as::<Value>().unwrap(),
        json!({})
    );
}

#[tokio::test]
async fn a_server_outside_gets_nothing() {
    let nation = Nation::new();
    let (one, two) = (nation.server("one"), nation.server("two"));
    let alice = one.user("alice").await;
    let room = one.public_room(&alice, RoomVersionId::V12).await;
    let event_id = one.say(&alice, &room, "inside").await;

    let request = get_event::v1::Request::new(event_id.clone());
    two.federation
        .request(one.name(), request)
        .await
        .unwrap_err();
    let forbidden = |result: luxchat_rooms::Result<()>| {
        assert!(matches!(result, Err(luxchat_rooms::Error::Forbidden(_))));
    };
    let state = one.rooms.serve_state(two.name(), &room, &event_id).await;
    forbidden(state.map(drop));
    let backfill = one
        .rooms
        .serve_backfill(two.name(), &room, vec![event_id.clone()], 10)
        .await;
    forbidden(backfill.map(drop));
    let auth = one
        .rooms
        .serve_event_auth(two.name(), &room, &event_id)
        .await;
    forbidden(auth.map(drop));
}
