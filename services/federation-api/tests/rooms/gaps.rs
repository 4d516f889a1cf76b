//! Events that arrive before those they build upon.

use std::{sync::Arc, time::Duration};

use axum::{Json, Router, routing::get};
use ruma::{RoomVersionId, events::StateEventType};
use serde_json::json;
use tokio::sync::Notify;

use crate::nation::Nation;

#[tokio::test]
async fn missing_events_are_fetched_in_order() {
    let nation = Nation::new();
    let (room, [(one, alice), (two, _)]) = nation.shared_room(RoomVersionId::V12).await;
    one.outbox(&two).await;
    for body in ["a", "b", "c"] {
        one.say(&alice, &room, body).await;
    }
    one.name_room(&alice, &room, "named in the gap").await;
    one.say(&alice, &room, "d").await;
    let last = one.outbox(&two).await.pop().unwrap();
    two.receive_one(&one, last).await.unwrap();
    assert_eq!(two.bodies(&room).await, ["a", "b", "c", "d"]);
    assert_eq!(one.state(&room).await, two.state(&room).await);
}

#[tokio::test]
async fn what_was_received_is_fine_to_come_again() {
    let nation = Nation::new();
    let (room, [(one, alice), (two, _)]) = nation.shared_room(RoomVersionId::V11).await;
    one.say(&alice, &room, "once").await;
    one.name_room(&alice, &room, "Once").await;
    let pdus = one.outbox(&two).await;
    two.receive(&one, pdus.clone()).await;
    let (state, timeline) = (two.state(&room).await, two.timeline(&room).await.len());
    for (_, result) in two.receive(&one, pdus).await {
        result.unwrap();
    }
    assert_eq!(two.state(&room).await, state);
    assert_eq!(two.timeline(&room).await.len(), timeline);
    assert_eq!(two.bodies(&room).await, ["once"]);
}

#[tokio::test]
async fn a_gap_too_wide_to_close_is_bridged_by_the_state_behind_it() {
    let nation = Nation::new();
    let (room, [(one, alice), (two, bob)]) = nation.shared_room(RoomVersionId::V12).await;
    one.outbox(&two).await;
    one.name_room(&alice, &room, "behind the gap").await;
    let carol = one.user("carol").await;
    one.join(&carol, &room, &[]).await.unwrap();
    for number in 0..270 {
        one.say(&alice, &room, &number.to_string()).await;
    }
    let last = one.outbox(&two).await.pop().unwrap();
    two.receive_one(&one, last).await.unwrap();
    let bodies = two.bodies(&room).await;
    assert_eq!(bodies.last().unwrap(), "269");
    assert!(bodies.len() < 270, "{}", bodies.len());
    assert_eq!(one.state(&room).await, two.state(&room).await);
    let name = two.state_content(&room, StateEventType::RoomName).await;
    assert_eq!(name.unwrap()["name"], "behind the gap");

    // What is older than the room is here goes to the beginning, what is in the gap goes there.
    while two.rooms.backfill(&room, 100).await.unwrap() > 0 {}
    assert_eq!(two.bodies(&room).await, bodies);
    let newest = i64::MAX;
    while two.rooms.backfill_before(&room, newest, 100).await.unwrap() > 0 {}
    let expected: Vec<String> = (0..270).map(|number| number.to_string()).collect();
    assert_eq!(two.bodies(&room).await, expected);

    // The room goes on.
    two.say(&bob, &room, "and on").await;
    two.deliver(&one).await;
    assert_eq!(one.bodies(&room).await.last().unwrap(), "and on");
}

#[tokio::test]
async fn the_state_behind_a_gap_is_not_left_to_one_server() {
    let nation = Nation::new();
    let (room, [(one, alice), (two, _)]) = nation.shared_room(RoomVersionId::V11).await;
    let (three, carol) = nation.server_of("three", "carol").await;
    let beginning: Vec<_> = one.state(&room).await.into_values().collect();
    three.join(&carol, &room, &[&one]).await.unwrap();
    one.deliver(&two).await;
    one.name_room(&alice, &room, "behind the gap").await;
    for number in 0..270 {
        one.say(&alice, &room, &number.to_string()).await;
    }
    one.deliver(&three).await;
    // One tells of the state as it was before carol came, and before the room had a name.
    let ids = json!({ "pdu_ids": beginning, "auth_chain_ids": [] });
    let routes = nation.network.detach(one.name()).unwrap();
    let lies = Router::new()
        .route(
            "/_matrix/federation/v1/state_ids/{room}",
            get(async || Json(ids)),
        )
        .fallback_service(routes);
    nation.network.attach(one.name().to_owned(), lies);
    let last = one.outbox(&two).await.pop().unwrap();
    two.receive_one(&one, last).await.unwrap();
    assert_eq!(two.bodies(&room).await.last().unwrap(), "269");
    assert_eq!(two.state(&room).await, three.state(&room).await);

    three.say(&carol, &room, "here").await;
    three.deliver(&two).await;
    assert_eq!(two.bodies(&room).await.last().unwrap(), "here");
}

#[tokio::test]
async fn what_was_said_while_a_server_was_away_takes_its_place() {
    let nation = Nation::new();
    let (room, [(one, alice), (two, bob)]) = nation.shared_room(RoomVersionId::V12).await;
    one.outbox(&two).await;
    one.say(&alice, &room, "before").await;
    two.receive(&one, one.outbox(&two).await).await;
    two.rooms.leave(&bob, &room, None).await.unwrap();
    two.deliver(&one).await;
    for number in 0..150 {
        one.say(&alice, &room, &number.to_string()).await;
    }
    two.join(&bob, &room, &[&one]).await.unwrap();
    one.say(&alice, &room, "after").await;
    two.receive(&one, one.outbox(&two).await).await;
    assert_eq!(two.bodies(&room).await, ["before", "after"]);

    let newest = i64::MAX;
    assert_eq!(
        two.rooms.backfill_before(&room, newest, 60).await.unwrap(),
        60
    );
    let bodies = two.bodies(&room).await;
    assert_eq!((&*bodies[0], &*bodies[1]), ("before", "90"));
    while two.rooms.backfill_before(&room, newest, 60).await.unwrap() > 0 {}
    let said = (0..150).map(|number| number.to_string());
    let expected = std::iter::once("before".to_owned()).chain(said);
    let expected: Vec<String> = expected.chain(["after".to_owned()]).collect();
    let bodies = two.bodies(&room).await;
    assert_eq!(bodies, expected);
    assert_eq!(one.state(&room).await, two.state(&room).await);
}

#[tokio::test]
async fn without_its_ancestors_an_event_waits() {
    let nation = Nation::new();
    let (room, [(one, alice), (two, _)]) = nation.shared_room(RoomVersionId::V12).await;
    one.outbox(&two).await;
    one.say(&alice, &room, "lost").await;
    one.say(&alice, &room, "left over").await;
    let mut pdus = one.outbox(&two).await;
    let (last, lost) = (pdus.pop().unwrap(), pdus.pop().unwrap());
    // The keys are known from the join; the events are not to be had.
    let knows_nothing = axum::Router::new();
    nation.network.attach(one.name().to_owned(), knows_nothing);
    two.receive_one(&one, last).await.unwrap();
    assert!(two.bodies(&room).await.is_empty());
    assert_eq!(two.rooms.retry_waiting().await.unwrap(), 0);
    nation.clock.advance(Duration::from_mins(1));
    assert_eq!(two.rooms.retry_waiting().await.unwrap(), 1);
    assert!(two.bodies(&room).await.is_empty());

    two.receive_one(&one, lost).await.unwrap();
    nation.clock.advance(Duration::from_mins(10));
    assert_eq!(two.rooms.retry_waiting().await.unwrap(), 1);
    assert_eq!(two.bodies(&room).await, ["lost", "left over"]);
    nation.clock.advance(Duration::from_hours(24));
    assert_eq!(two.rooms.retry_waiting().await.unwrap(), 0);
}

#[tokio::test]
async fn an_event_does_not_wait_for_ever() {
    let nation = Nation::new();
    let (room, [(one, alice), (two, _)]) = nation.shared_room(RoomVersionId::V12).await;
    one.outbox(&two).await;
    one.say(&alice, &room, "lost").await;
    let knows_nothing = axum::Router::new();
    nation.network.attach(one.name().to_owned(), knows_nothing);
    // More than a room keeps: the rest is refused.
    let mut kept = 0;
    for number in 0..105 {
        one.say(&alice, &room, &number.to_string()).await;
        let last = one.outbox(&two).await.pop().unwrap();
        kept += usize::from(two.receive_one(&one, last).await.is_ok());
    }
    assert_eq!(kept, 100);
    let mut tried = 0;
    for _ in 0..50 {
        nation.clock.advance(Duration::from_hours(6));
        tried += two.rooms.retry_waiting().await.unwrap();
    }
    assert_eq!(tried, 400);
    assert!(two.bodies(&room).await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_fetched_now_is_to_come_again() {
    let nation = Nation::new();
    let (room, [(one, alice), (two, _)]) = nation.shared_room(RoomVersionId::V12).await;
    one.outbox(&two).await;
    for body in ["a", "b", "c"] {
        one.say(&alice, &room, body).await;
    }
    let mut pdus = one.outbox(&two).await;
    // Only the first has what it builds upon. The others are not answered for one by one, but not at all.
    pdus.remove(1);
    let routes = nation.network.detach(one.name()).unwrap();
    let received = two.rooms.receive_pdus(one.name(), pdus.clone(), 4).await;
    assert!(received.unwrap_err().is_passing());
    assert_eq!(two.bodies(&room).await, ["a"]);

    nation.network.attach(one.name().to_owned(), routes);
    two.receive(&one, pdus).await;
    assert_eq!(two.bodies(&room).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_server_that_takes_its_time_keeps_nobody_from_the_room() {
    let nation = Nation::new();
    let (room, [(one, alice), (two, _)]) = nation.shared_room(RoomVersionId::V12).await;
    let (slow, eve) = nation.server_of("slow", "eve").await;
    slow.join(&eve, &room, &[&one]).await.unwrap();
    one.deliver(&two).await;
    slow.outbox(&two).await;
    slow.say(&eve, &room, "kept back").await;
    slow.say(&eve, &room, "late").await;
    let late = slow.outbox(&two).await.pop().unwrap();

    // It is asked for what lies between, and does not answer.
    let asked = Arc::new(Notify::new());
    let silent = {
        let asked = Arc::clone(&asked);
        Router::new().fallback(async move || {
            asked.notify_one();
            std::future::pending::<()>().await;
        })
    };
    nation.network.attach(slow.name().to_owned(), silent);
    let waits = two.receive_one(&slow, late);
    let meanwhile = async {
        asked.notified().await;
        one.say(&alice, &room, "in time").await;
        two.receive(&one, one.outbox(&two).await).await;
        assert_eq!(two.bodies(&room).await, ["in time"]);
    };
    tokio::select! {
        result = waits => panic!("{result:?} before it answered"),
        () = meanwhile => {}
    }
}

#[tokio::test]
async fn a_missing_event_may_stand_lower_than_all_that_is_here() {
    let nation = Nation::new();
    let (room, [(one, alice), (two, _)]) = nation.shared_room(RoomVersionId::V12).await;
    let (three, carol) = nation.server_of("three", "carol").await;
    three.join(&carol, &room, &[&one]).await.unwrap();
    one.deliver(&two).await;
    three.say(&carol, &room, "cut off").await;
    for number in 0..5 {
        one.say(&alice, &room, &number.to_string()).await;
    }
    one.deliver(&two).await;
    three.deliver(&one).await;
    // Builds upon what carol said, which only one server was told of.
    one.say(&alice, &room, "joined up").await;
    one.deliver(&two).await;
    let bodies = two.bodies(&room).await;
    let expected = ["0", "1", "2", "3", "4", "cut off", "joined up"];
    assert_eq!(bodies, expected);
    assert_eq!(one.state(&room).await, two.state(&room).await);
}
