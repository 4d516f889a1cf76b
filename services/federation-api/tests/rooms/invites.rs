use luxchat_rooms::{Error, Join};
use ruma::{
    RoomVersionId, api::client::room::create_room::v3::RoomPreset,
    events::room::member::MembershipState,
};
use serde_json::{Value, json};

use crate::nation::{Nation, Server, moderate};

async fn told(server: &Server, room: &ruma::RoomId, user: &ruma::UserId) -> Option<Vec<Value>> {
    let (room, user) = (room.to_owned(), user.to_owned());
    let json = server
        .store
        .read(move |tx| {
            let room = tx.room_by_id(&room)?.unwrap();
            let user = tx.user_nid(&user)?.unwrap();
            tx.stripped_state(room.nid, user)
        })
        .await
        .unwrap();
    json.map(|json| serde_json::from_str(&json).unwrap())
}

#[tokio::test]
async fn an_invite_is_shown_and_accepted() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    for version in [RoomVersionId::V6, RoomVersionId::V12] {
        let room = one.room(&alice, version, RoomPreset::PrivateChat).await;
        one.name_room(&alice, &room, "Plans").await;
        let invite = moderate(&alice, &room, &bob);
        one.rooms.invite(invite, true).await.unwrap();
        assert_eq!(two.membership(&room, &bob).await, MembershipState::Invite);
        let told = told(&two, &room, &bob).await.unwrap();
        let name = told.iter().find(|event| event["type"] == "m.room.name");
        assert_eq!(name.unwrap()["content"]["name"], "Plans");
        assert!(told.iter().any(|event| event["type"] == "m.room.create"));

        // The invite's sender is enough to find the way.
        two.join(&bob, &room, &[]).await.unwrap();
        assert_eq!(one.state(&room).await, two.state(&room).await);
        assert_eq!(crate::invites::told(&two, &room, &bob).await, None);
    }
}

#[tokio::test]
async fn an_invite_is_declined() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    let room = one
        .room(&alice, RoomVersionId::V11, RoomPreset::PrivateChat)
        .await;
    one.rooms
        .invite(moderate(&alice, &room, &bob), false)
        .await
        .unwrap();
    two.rooms.leave(&bob, &room, None).await.unwrap();
    assert_eq!(two.membership(&room, &bob).await, MembershipState::Leave);
    assert_eq!(one.membership(&room, &bob).await, MembershipState::Leave);
}

#[tokio::test]
async fn an_invite_is_declined_even_where_nobody_answers() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    let room = one
        .room(&alice, RoomVersionId::V12, RoomPreset::PrivateChat)
        .await;
    one.rooms
        .invite(moderate(&alice, &room, &bob), false)
        .await
        .unwrap();
    nation.network.detach(one.name());
    two.rooms.leave(&bob, &room, None).await.unwrap();
    assert_eq!(two.membership(&room, &bob).await, MembershipState::Leave);
}

#[tokio::test]
async fn an_invite_is_taken_back() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    let room = one
        .room(&alice, RoomVersionId::V12, RoomPreset::PrivateChat)
        .await;
    one.rooms
        .invite(moderate(&alice, &room, &bob), false)
        .await
        .unwrap();
    one.rooms.kick(moderate(&alice, &room, &bob)).await.unwrap();
    one.deliver(&two).await;
    assert_eq!(two.membership(&room, &bob).await, MembershipState::Leave);
}

#[tokio::test]
async fn nobody_invites_who_is_not_there() {
    let nation = Nation::new();
    let (one, two) = (nation.server("one"), nation.server("two"));
    let alice = one.user("alice").await;
    let nobody = ruma::UserId::parse("@nobody:two").unwrap();
    let room = one
        .room(&alice, RoomVersionId::V12, RoomPreset::PrivateChat)
        .await;
    let invite = moderate(&alice, &room, &nobody);
    let error = one.rooms.invite(invite, false).await.unwrap_err();
    assert!(matches!(error, Error::Remote(_)), "{error}");
    assert_eq!(one.membership(&room, &nobody).await, MembershipState::Leave);
    drop(two);
}

#[tokio::test]
async fn a_knock_is_heard_and_answered() {
    let nation = Nation::new();
    let [(one, alice), (two, bob)] = nation.pair().await;
    let room = one
        .room(&alice, RoomVersionId::V12, RoomPreset::PrivateChat)
        .await;
    let rule = json!({ "join_rule": "knock" });
    one.send(&alice, &room, "m.room.join_rules", Some(""), rule)
        .await
        .unwrap();
    let knock = Join {
        user: bob.clone(),
        room_id: room.clone(),
        via: vec![one.name().to_owned()],
        reason: Some("please".to_owned()),
        extra: ruma::CanonicalJsonObject::new(),
    };
    two.rooms.knock(knock).await.unwrap();
    assert_eq!(one.membership(&room, &bob).await, MembershipState::Knock);
    assert_eq!(two.membership(&room, &bob).await, MembershipState::Knock);
    assert!(told(&two, &room, &bob).await.is_some());

    one.rooms
        .invite(moderate(&alice, &room, &bob), false)
        .await
        .unwrap();
    assert_eq!(two.membership(&room, &bob).await, MembershipState::Invite);
    two.join(&bob, &room, &[&one]).await.unwrap();
    assert_eq!(one.state(&room).await, two.state(&room).await);
}
