//! Servers that have the same events agree on the state, whatever came when.

use luxchat_store::EventStatus;
use ruma::{RoomVersionId, events::StateEventType};
use serde_json::json;

use crate::nation::{Nation, Server, moderate};

/// Both servers send each other what they made in ignorance of each other.
async fn meet(one: &Server, two: &Server) {
    let (from_one, from_two) = (one.outbox(two).await, two.outbox(one).await);
    for result in one.receive(two, from_two).await.into_values() {
        result.unwrap();
    }
    for result in two.receive(one, from_one).await.into_values() {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_fork_resolves_equally_on_both_sides() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    for version in [RoomVersionId::V6, RoomVersionId::V11, RoomVersionId::V12] {
        let room = one.public_room(&alice, version.clone()).await;
        two.join(&bob, &room, &[&one]).await.unwrap();
        let levels = StateEventType::RoomPowerLevels;
        let mut content = one.state_content(&room, levels.clone()).await.unwrap();
        content["users"][bob.as_str()] = json!(50);
        one.send(&alice, &room, &levels.to_string(), Some(""), content)
            .await
            .unwrap();
        meet(&one, &two).await;

        one.name_room(&alice, &room, "by Alice").await;
        two.name_room(&bob, &room, "by Bob").await;
        two.say(&bob, &room, "meanwhile").await;
        meet(&one, &two).await;
        assert_eq!(one.state(&room).await, two.state(&room).await, "{version}");

        // What follows joins the branches.
        one.say(&alice, &room, "joined").await;
        two.send(
            &bob,
            &room,
            "m.room.topic",
            Some(""),
            json!({ "topic": "t" }),
        )
        .await
        .unwrap();
        meet(&one, &two).await;
        assert_eq!(one.state(&room).await, two.state(&room).await, "{version}");
        let topic = one.state_content(&room, StateEventType::RoomTopic).await;
        assert_eq!(topic.unwrap()["topic"], "t");
    }
}

#[tokio::test]
async fn a_ban_wins_over_what_the_banned_do_meanwhile() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    let carol = two.user("carol").await;
    for version in [RoomVersionId::V6, RoomVersionId::V12] {
        let room = one.public_room(&alice, version.clone()).await;
        two.join(&bob, &room, &[&one]).await.unwrap();
        two.join(&carol, &room, &[]).await.unwrap();
        two.deliver(&one).await;
        one.rooms.ban(moderate(&alice, &room, &bob)).await.unwrap();
        let spoken = two.say(&bob, &room, "still here").await;
        meet(&one, &two).await;
        // One knew of the ban: clients there never see the message. Two learns of it now.
        let event = one.event(&room, &spoken).await.unwrap();
        assert_eq!(event.status, EventStatus::SoftFailed);
        assert!(event.pos.is_none());
        assert!(one.bodies(&room).await.is_empty());
        assert_eq!(two.bodies(&room).await, ["still here"]);
        assert_eq!(one.state(&room).await, two.state(&room).await, "{version}");
    }
}

#[tokio::test]
async fn an_event_on_top_of_a_soft_failed_one_is_fine() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    let carol = two.user("carol").await;
    let room = one.public_room(&alice, RoomVersionId::V12).await;
    two.join(&bob, &room, &[&one]).await.unwrap();
    two.join(&carol, &room, &[]).await.unwrap();
    two.deliver(&one).await;
    one.rooms.ban(moderate(&alice, &room, &bob)).await.unwrap();
    two.say(&bob, &room, "still here").await;
    two.say(&carol, &room, "who is banned?").await;
    meet(&one, &two).await;
    assert_eq!(one.bodies(&room).await, ["who is banned?"]);
    one.say(&alice, &room, "Bob").await;
    meet(&one, &two).await;
    assert_eq!(one.state(&room).await, two.state(&room).await);
    assert_eq!(two.bodies(&room).await.last().unwrap(), "Bob");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_does_not_hold_still_takes_in_what_comes() {
    let nation = Nation::new();
    let (room, [(one, alice), (two, bob)]) = nation.shared_room(RoomVersionId::V12).await;
    for number in 0..20 {
        one.name_room(&alice, &room, &number.to_string()).await;
        one.say(&alice, &room, "from one").await;
    }
    // Each of these forks off what two says meanwhile.
    let pdus = one.outbox(&two).await;
    let receive = async {
        for pdu in pdus {
            two.receive_one(&one, pdu).await.unwrap();
        }
    };
    let speak = async {
        for _ in 0..100 {
            two.say(&bob, &room, "from two").await;
        }
    };
    tokio::join!(receive, speak);
    meet(&one, &two).await;
    one.say(&alice, &room, "settled").await;
    meet(&one, &two).await;
    assert_eq!(one.state(&room).await, two.state(&room).await);
    let bodies = two.bodies(&room).await;
    assert_eq!(bodies.iter().filter(|body| *body == "from one").count(), 20);
    assert_eq!(
        bodies.iter().filter(|body| *body == "from two").count(),
        100
    );
    assert_eq!(one.bodies(&room).await.len(), bodies.len());
}
