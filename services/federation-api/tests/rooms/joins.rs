use axum::{Json, Router};
use luxchat_rooms::{Error, Join, PduError, VERSIONS};
use ruma::{
    CanonicalJsonObject, OwnedServerName, RoomId, RoomVersionId, UserId,
    api::client::room::create_room::v3::RoomPreset,
    events::{StateEventType, room::member::MembershipState},
};
use serde_json::json;

use crate::nation::{Nation, Server, moderate};

#[tokio::test]
async fn a_user_joins_through_another_server_in_every_version() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
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
    let (room, [(one, _), (two, _)]) = nation.shared_room(RoomVersionId::V12).await;
    let (three, carol) = nation.server_of("three", "carol").await;
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
    let [(one, alice), (two, bob)] = nation.pair().await;
    let down = nation.server("down");
    nation.network.detach(down.name());
    let room = one.public_room(&alice, RoomVersionId::V11).await;
    two.join(&bob, &room, &[&down, &one]).await.unwrap();
    assert_eq!(two.membership(&room, &bob).await, MembershipState::Join);
}

#[tokio::test]
async fn who_is_not_invited_does_not_join() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
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
    let (room, [(one, alice), (two, bob)]) = nation.shared_room(RoomVersionId::V12).await;
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

/// Lets in whoever is in `hall`, and makes it a matter of power to invite.
async fn restrict(server: &Server, user: &UserId, room: &RoomId, rule: &str, hall: &RoomId) {
    let levels = StateEventType::RoomPowerLevels;
    let mut content = server.state_content(room, levels.clone()).await.unwrap();
    content["invite"] = json!(50);
    server
        .send(user, room, &levels.to_string(), Some(""), content)
        .await
        .unwrap();
    let allow = json!([{ "type": "m.room_membership", "room_id": hall }]);
    let content = json!({ "join_rule": rule, "allow": allow });
    server
        .send(user, room, "m.room.join_rules", Some(""), content)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_member_of_another_room_is_let_into_a_restricted_one() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    let carol = two.user("carol").await;
    let hall = one.public_room(&alice, RoomVersionId::V12).await;
    let room = one
        .room(&alice, RoomVersionId::V10, RoomPreset::PrivateChat)
        .await;
    restrict(&one, &alice, &room, "restricted", &hall).await;
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
    let [(one, alice), (two, bob)] = nation.pair().await;
    let room = one.public_room(&alice, RoomVersionId::V12).await;
    one.rooms.ban(moderate(&alice, &room, &bob)).await.unwrap();
    assert!(two.join(&bob, &room, &[&one]).await.is_err());
    assert_eq!(one.membership(&room, &bob).await, MembershipState::Ban);
}

#[tokio::test]
async fn a_server_that_may_let_nobody_in_is_passed_over() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    let (three, carol) = nation.server_of("three", "carol").await;
    let hall = one.public_room(&alice, RoomVersionId::V12).await;
    three.join(&carol, &hall, &[&one]).await.unwrap();
    two.join(&bob, &hall, &[&one]).await.unwrap();
    for (rule, version) in [
        ("restricted", RoomVersionId::V8),
        ("knock_restricted", RoomVersionId::V10),
        ("knock_restricted", RoomVersionId::V12),
    ] {
        let room = one.room(&alice, version, RoomPreset::PrivateChat).await;
        restrict(&one, &alice, &room, rule, &hall).await;
        three.join(&carol, &room, &[&one]).await.unwrap();
        one.deliver(&three).await;

        // Three is in both rooms, and none of its users may invite.
        assert!(two.join(&bob, &room, &[&three]).await.is_err(), "{rule}");
        two.join(&bob, &room, &[&three, &one]).await.unwrap();
        assert_eq!(one.membership(&room, &bob).await, MembershipState::Join);
        assert_eq!(one.state(&room).await, two.state(&room).await, "{rule}");
    }
}

#[tokio::test]
async fn a_server_whose_template_is_no_event_is_passed_over() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    let room = one.public_room(&alice, RoomVersionId::V11).await;
    for (field, value) in [
        ("auth_events", json!(["no id"])),
        ("prev_events", json!(vec!["$a"; 30])),
        ("depth", json!(-1)),
    ] {
        let mut event = json!({
            "auth_events": ["$a"], "content": { "membership": "join" }, "depth": 2,
            "origin_server_ts": 1, "prev_events": ["$a"], "room_id": room, "sender": bob,
            "state_key": bob, "type": "m.room.member",
        });
        event[field] = value;
        let answer = json!({ "event": event, "room_version": "11" });
        let router = Router::new().fallback(async move || Json(answer));
        let bad = ruma::server_name!("bad");
        nation.network.attach(bad.to_owned(), router);
        let join = |via: Vec<OwnedServerName>| {
            two.rooms.join(Join {
                user: bob.clone(),
                room_id: room.clone(),
                via,
                reason: None,
                extra: CanonicalJsonObject::new(),
            })
        };
        let error = join(vec![bad.to_owned()]).await.unwrap_err();
        let is_bad = matches!(error, Error::Pdu(PduError::Format(_)));
        assert!(is_bad, "{field}: {error:?}");
        join(vec![bad.to_owned(), one.name().to_owned()])
            .await
            .unwrap();
        two.rooms.leave(&bob, &room, None).await.unwrap();
        two.deliver(&one).await;
    }
}
