//! What a server tells others of its rooms.

use ruma::{
    RoomVersionId,
    api::{
        client::room::create_room::v3::{CreationContent, Request, RoomPreset},
        federation::{
            directory::get_public_rooms, query::get_room_information, space::get_hierarchy,
        },
    },
    room::RoomType,
    serde::Raw,
};
use serde_json::json;

use crate::nation::Nation;

#[tokio::test]
async fn an_alias_leads_to_its_room() {
    let nation = Nation::new();
    let (one, two) = (nation.server("one"), nation.server("two"));
    let alice = one.user("alice").await;
    let room = one.public_room(&alice, RoomVersionId::V12).await;
    let alias = ruma::RoomAliasId::parse("#plans:one").unwrap();
    one.rooms.set_alias(&alice, &alias, &room).await.unwrap();
    let target = two.rooms.resolve_alias(&alias).await.unwrap();
    assert_eq!(target.room_id, room);
    assert_eq!(target.servers, [one.name()]);

    let request = get_room_information::v1::Request::new("#none:one".try_into().unwrap());
    let error = two.federation.request(one.name(), request).await;
    assert_eq!(error.unwrap_err().remote_status().unwrap().as_u16(), 404);
}

#[tokio::test]
async fn published_rooms_are_listed() {
    let nation = Nation::new();
    let (one, two) = (nation.server("one"), nation.server("two"));
    let alice = one.user("alice").await;
    let room = one.public_room(&alice, RoomVersionId::V12).await;
    let list = async || {
        let request = get_public_rooms::v1::Request::new();
        two.federation.request(one.name(), request).await.unwrap()
    };
    assert!(list().await.chunk.is_empty());
    one.rooms.publish(&alice, &room, true, false).await.unwrap();
    let chunk = list().await.chunk;
    assert_eq!(chunk.len(), 1);
    assert_eq!(chunk[0].room_id, room);
}

#[tokio::test]
async fn a_space_tells_of_the_rooms_that_the_asking_server_may_know() {
    let nation = Nation::new();
    let (one, two) = (nation.server("one"), nation.server("two"));
    let alice = one.user("alice").await;
    let mut content = CreationContent::new();
    content.room_type = Some(RoomType::Space);
    let mut request = Request::new();
    request.preset = Some(RoomPreset::PublicChat);
    request.creation_content = Some(Raw::new(&content).unwrap());
    let space = one.rooms.create(&alice, request).await.unwrap();
    let open = one.public_room(&alice, RoomVersionId::V12).await;
    let closed = one
        .room(&alice, RoomVersionId::V12, RoomPreset::PrivateChat)
        .await;
    for child in [&open, &closed] {
        let content = json!({ "via": ["one"] });
        one.send(
            &alice,
            &space,
            "m.space.child",
            Some(child.as_str()),
            content,
        )
        .await
        .unwrap();
    }
    let request = get_hierarchy::v1::Request::new(space);
    let answer = two.federation.request(one.name(), request).await.unwrap();
    assert_eq!(answer.room.children_state.len(), 2);
    assert_eq!(answer.children.len(), 1);
    assert_eq!(answer.children[0].room_id, open);
    assert_eq!(answer.inaccessible_children, std::slice::from_ref(&closed));

    let request = get_hierarchy::v1::Request::new(closed);
    let error = two.federation.request(one.name(), request).await;
    assert_eq!(error.unwrap_err().remote_status().unwrap().as_u16(), 404);
}
