use luxchat_rooms::{Error, VERSIONS};
use ruma::{
    RoomVersionId,
    api::client::room::create_room::v3::RoomPreset,
    events::{StateEventType, room::member::MembershipState},
};
use serde_json::json;

use crate::nation::{Nation, moderate};

#[tokio::test]
async fn a_user_joins_through_another_server_in_every_version() {
    let nation = Nation::new();
    let (one, two) = (nation.server("one"), nation.server("two"));
    let (alice, bob) = (one.user("alice").await, two.user("bob").await);
    for version in VERSIONS {
        let room = one.public_room(&alice, version.clone()).await;
        one.name_room(&alice, &room, "before").await;
        two.join(&bob, &room, &[&one]).await.unwrap();
        assert_eq!(one.state(&room).await, two.state(&room).await, "{version}");
        assert_eq!(one.membership(&room, &bob).await, MembershipState::Join);

        two.say(&bob, &room, "hello").await;
        one.say(&alice, &room, "welcome").await;
        two.deliver(&one).await;
        one.deliver(&two).await;
        assert_eq!(two.bodies(&room).await, ["hello", "welcome"], "{version}");
        assert_eq!(one.state(&room).await, two.state(&room).await, "{version}");
    }
}

#[tokio::test]
async fn servers_in_a_room_hear_of_a_join_through_one_of_them() {
    let nation = Nation::new();
    let (one, two, three) = (
        nation.server("one"),
        nation.server("two"),
        nation.server("three"),
    );
    let (alice, bob) = (one.user("alice").await, two.user("bob").await);
    let carol = three.user("carol").await;
    let room = one.public_room(&alice, RoomVersionId::V12).await;
    two.join(&bob, &room, &[&one]).await.unwrap();
    three.join(&carol, &room, &[&one]).await.unwrap();
    assert_eq!(two.membership(&room, &carol).await, MembershipState::Leave);
    one.deliver(&two).await;
    assert_eq!(two.membership(&room, &carol).await, MembershipState::Join);

    three.say(&carol, &room, "to all").await;
    three.deliver(&one).await;
    three.deliver(&two).await;
    assert_eq!(two.bodies(&room).await, ["to all"]);
    assert_eq!(two.state(&room).await, three.state(&room).await);
}

#[tokio::test]
async fn a_server_that_is_down_is_passed_over() {
    let nation = Nation::new();
    let (one, two, down) = (
        nation.server("one"),
        nation.server("two"),
        nation.server("down"),
    );
    nation.network.detach(down.name());
    let (alice, bob) = (one.user("alice").await, two.user("bob").await);
    let room = one.public_room(&alice, RoomVersionId::V11).await;
    two.join(&bob, &room, &[&down, &one]).await.unwrap();
    assert_eq!(two.membership(&room, &bob).await, MembershipState::Join);
}

#[tokio::test]
async fn who_is_not_invited_does_not_join() {
    let nation = Nation::new();
    let (one, two) = (nation.server("one"), nation.server("two"));
    let (alice, bob) = (one.user("alice").await, two.user("bob").await);
    let room = one
        .room(&alice, RoomVersionId::V12, RoomPreset::PrivateChat)
        .await;
    let error = two.join(&bob, &room, &[&one]).await.unwrap_err();
    assert!(matches!(error, Error::Remote(_)), "{error}");
    assert_eq!(two.membership(&room, &bob).await, MembershipState::Leave);
    assert_eq!(one.membership(&room, &bob).await, MembershipState::Leave);
}

#[tokio::test]
async fn who_comes_back_finds_the_room_as_it_is() {
    let nation = Nation::new();
    let (one, two) = (nation.server("one"), nation.server("two"));
    let (alice, bob) = (one.user("alice").await, two.user("bob").await);
    let room = one.public_room(&alice, RoomVersionId::V12).await;
    two.join(&bob, &room, &[&one]).await.unwrap();
    two.rooms.leave(&bob, &room, None).await.unwrap();
    two.deliver(&one).await;
    assert_eq!(one.membership(&room, &bob).await, MembershipState::Leave);

    one.name_room(&alice, &room, "renamed meanwhile").await;
    one.say(&alice, &room, "unheard").await;
    assert!(one.outbox(&two).await.is_empty());
    two.join(&bob, &room, &[&one]).await.unwrap();
    assert_eq!(one.state(&room).await, two.state(&room).await);
    one.say(&alice, &room, "heard").await;
    one.deliver(&two).await;
    assert_eq!(two.bodies(&room).await, ["heard"]);
}

#[tokio::test]
async fn a_member_of_another_room_is_let_into_a_restricted_one() {
    let nation = Nation::new();
    let (one, two) = (nation.server("one"), nation.server("two"));
    let (alice, bob) = (one.user("alice").await, two.user("bob").await);
    let carol = two.user("carol").await;
    let hall = one.public_room(&alice, RoomVersionId::V12).await;
    let room = one
        .room(&alice, RoomVersionId::V10, RoomPreset::PrivateChat)
        .await;
    let rule = json!({
        "join_rule": "restricted",
        "allow": [{ "type": "m.room_membership", "room_id": hall }],
    });
    one.send(&alice, &room, "m.room.join_rules", Some(""), rule)
        .await
        .unwrap();
    let levels = StateEventType::RoomPowerLevels;
    let mut content = one.state_content(&room, levels.clone()).await.unwrap();
    content["invite"] = json!(50);
    one.send(&alice, &room, &levels.to_string(), Some(""), content)
        .await
        .unwrap();
    assert!(two.join(&bob, &room, &[&one]).await.is_err());

    two.join(&bob, &hall, &[&one]).await.unwrap();
    two.join(&bob, &room, &[&one]).await.unwrap();
    assert_eq!(one.state(&room).await, two.state(&room).await);

    // Now that the server is in both rooms: it knows that the next user may join, yet cannot let them in by itself.
    two.join(&carol, &hall, &[]).await.unwrap();
    two.deliver(&one).await;
    two.join(&carol, &room, &[]).await.unwrap();
    assert_eq!(two.membership(&room, &carol).await, MembershipState::Join);
    assert_eq!(one.state(&room).await, two.state(&room).await);
}

#[tokio::test]
async fn the_banned_stay_out() {
    let nation = Nation::new();
    let (one, two) = (nation.server("one"), nation.server("two"));
    let (alice, bob) = (one.user("alice").await, two.user("bob").await);
    let room = one.public_room(&alice, RoomVersionId::V12).await;
    one.rooms.ban(moderate(&alice, &room, &bob)).await.unwrap();
    assert!(two.join(&bob, &room, &[&one]).await.is_err());
    assert_eq!(one.membership(&room, &bob).await, MembershipState::Ban);
}
