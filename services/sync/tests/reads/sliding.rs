//! Simplified sliding sync.

use std::time::Duration;

use luxchat_sync::{Error, ReceiptKind};
use ruma::{
    RoomId,
    api::client::sync::sync_events::v5::{Request, Response, request, response::Room},
    events::{AnyToDeviceEvent, receipt::ReceiptThread},
    room_id,
    serde::Raw,
};
use serde_json::{Value, json};

use crate::world::*;

/// What the body of a request says, going on from `pos`.
fn asked(pos: Option<&str>, body: &Value) -> Request {
    let mut request = Request::new();
    request.pos = pos.map(ToOwned::to_owned);
    request.conn_id = Some("rooms".to_owned());
    request.lists = field(body, "lists");
    request.room_subscriptions = field(body, "room_subscriptions");
    request.extensions =
        field::<Option<request::Extensions>>(body, "extensions").unwrap_or_default();
    request
}

fn field<T: serde::de::DeserializeOwned + Default>(body: &Value, name: &str) -> T {
    let field = body.get(name);
    field.map_or_else(T::default, |field| {
        serde_json::from_value(field.clone()).unwrap()
    })
}

/// One list of rooms.
pub(crate) fn list(last: u32, limit: u32, required: Value) -> Value {
    json!({ "lists": { "all": { "ranges": [[0, last]], "timeline_limit": limit, "required_state": required } } })
}

pub(crate) async fn slide(
    world: &World,
    user: &ruma::UserId,
    pos: Option<&str>,
    body: &Value,
) -> Response {
    try_slide(world, user, pos, body).await.unwrap()
}

async fn try_slide(
    world: &World,
    user: &ruma::UserId,
    pos: Option<&str>,
    body: &Value,
) -> luxchat_sync::Result<Response> {
    let viewer = world.viewer(user).await;
    let request = asked(pos, body).into();
    let response = world.sync.sync_sliding(viewer, request).await?;
    Ok(response.common)
}

fn state_of(room: &Room) -> Vec<(String, String)> {
    let mut state: Vec<_> = plain(&room.required_state)
        .iter()
        .map(|event| {
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            (text("type"), text("state_key"))
        })
        .collect();
    state.sort();
    state
}

fn pair(event_type: &str, state_key: &str) -> (String, String) {
    (event_type.to_owned(), state_key.to_owned())
}

async fn three_rooms(world: &World) -> [&'static RoomId; 3] {
    let rooms = [room_id!("!a:one"), room_id!("!b:one"), room_id!("!c:one")];
    for room in rooms {
        world.room(room, alice(), "shared").await;
        world.message(room, alice(), "one").await;
        world.message(room, alice(), "two").await;
    }
    rooms
}

#[tokio::test]
async fn a_window_shows_the_rooms_where_something_last_happened() {
    let world = World::new().await;
    let [a, b, c] = three_rooms(&world).await;
    world.message(a, alice(), "three").await;
    world
        .state(b, alice(), "m.room.topic", "", json!({ "topic": "x" }))
        .await;
    let required = json!([["m.room.create", ""], ["m.room.member", "$ME"]]);
    let first = slide(&world, alice(), None, &list(1, 2, required.clone())).await;
    assert_eq!(first.lists["all"].count, 3_u32.into());
    let rooms: Vec<_> = first.rooms.keys().map(|room| &**room).collect();
    assert_eq!(rooms, [a, c], "a topic moves no room up");
    let room = &first.rooms[a];
    assert_eq!(room.initial, Some(true));
    assert_eq!(bodies(&room.timeline), ["two", "three"]);
    assert!(room.limited && room.prev_batch.is_some());
    assert_eq!(room.num_live, Some(0_u32.into()));
    assert_eq!(room.joined_count, Some(1_u32.into()));
    let expected = [
        pair("m.room.create", ""),
        pair("m.room.member", "@alice:one"),
    ];
    assert_eq!(state_of(room), expected);
    assert!(room.bump_stamp > first.rooms[c].bump_stamp);
    // The window grows.
    let second = slide(&world, alice(), Some(&first.pos), &list(9, 2, required)).await;
    let rooms: Vec<_> = second.rooms.keys().map(|room| &**room).collect();
    assert_eq!(rooms, [b]);
    assert_eq!(second.rooms[b].initial, Some(true));
}

#[tokio::test]
async fn only_what_changed_is_told() {
    let world = World::new().await;
    let [_, b, _] = three_rooms(&world).await;
    let body = list(9, 5, json!([["m.room.name", ""], ["m.room.topic", ""]]));
    let first = slide(&world, alice(), None, &body).await;
    assert_eq!(first.rooms.len(), 3);
    let quiet = slide(&world, alice(), Some(&first.pos), &body).await;
    assert!(quiet.rooms.is_empty());
    world.message(b, alice(), "three").await;
    world
        .state(b, alice(), "m.room.name", "", json!({ "name": "Weather" }))
        .await;
    let news = slide(&world, alice(), Some(&quiet.pos), &body).await;
    assert_eq!(news.rooms.len(), 1);
    let room = &news.rooms[b];
    assert_eq!(room.initial, None);
    assert_eq!(bodies(&room.timeline), ["three", "m.room.name"]);
    assert_eq!(room.num_live, Some(2_u32.into()));
    assert!(!room.limited);
    assert_eq!(room.name.as_deref(), Some("Weather"));
    assert_eq!(state_of(room), [pair("m.room.name", "")]);
    // The response was lost: the same again.
    let again = slide(&world, alice(), Some(&quiet.pos), &body).await;
    assert_eq!(bodies(&again.rooms[b].timeline), ["three", "m.room.name"]);
}

#[tokio::test]
async fn what_happens_outside_the_window_is_told_when_the_room_comes_in() {
    let world = World::new().await;
    let [a, b, c] = three_rooms(&world).await;
    let all = list(2, 3, json!([["m.room.topic", ""]]));
    let narrow = list(0, 3, json!([["m.room.topic", ""]]));
    let mut pos = slide(&world, alice(), None, &all).await.pos;
    world
        .state(a, alice(), "m.room.topic", "", json!({ "topic": "x" }))
        .await;
    let response = slide(&world, alice(), Some(&pos), &narrow).await;
    assert!(response.rooms.is_empty());
    pos = response.pos;
    world.message(c, alice(), "three").await;
    let response = slide(&world, alice(), Some(&pos), &narrow).await;
    assert_eq!(response.rooms.keys().collect::<Vec<_>>(), [c]);
    let response = slide(&world, alice(), Some(&response.pos), &all).await;
    assert_eq!(response.rooms.keys().collect::<Vec<_>>(), [a]);
    let room = &response.rooms[a];
    assert_eq!(room.initial, None);
    assert_eq!(bodies(&room.timeline), ["m.room.topic"]);
    assert_eq!(state_of(room), [pair("m.room.topic", "")]);
    assert!(!response.rooms.contains_key(b));
}

#[tokio::test]
async fn a_subscription_asks_for_more() {
    let world = World::new().await;
    let [a, ..] = three_rooms(&world).await;
    world.member(a, eve(), eve(), "join").await;
    world.message(a, eve(), "hi").await;
    let mut body = list(9, 1, json!([["m.room.create", ""]]));
    let first = slide(&world, alice(), None, &body).await;
    assert_eq!(bodies(&first.rooms[a].timeline), ["hi"]);
    body["room_subscriptions"] = json!({
        a: { "timeline_limit": 3, "required_state": [["m.room.member", "$LAZY"], ["m.room.power_levels", ""]] },
        "!nowhere:one": { "timeline_limit": 3 },
    });
    let second = slide(&world, alice(), Some(&first.pos), &body).await;
    assert_eq!(second.rooms.len(), 1);
    let room = &second.rooms[a];
    assert_eq!(bodies(&room.timeline), ["two", "m.room.member", "hi"]);
    assert_eq!(room.num_live, Some(0_u32.into()));
    let expected = [
        pair("m.room.member", "@alice:one"),
        pair("m.room.member", "@eve:two"),
        pair("m.room.power_levels", ""),
    ];
    assert_eq!(state_of(room), expected);
    let quiet = slide(&world, alice(), Some(&second.pos), &body).await;
    assert!(quiet.rooms.is_empty());
}

#[tokio::test]
async fn lists_are_filtered() {
    let world = World::new().await;
    let [a, b, c] = three_rooms(&world).await;
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    world
        .state(a, alice(), "m.room.encryption", "", content)
        .await;
    let invited = room_id!("!d:one");
    world.room(invited, bob(), "shared").await;
    world.member(invited, bob(), alice(), "invite").await;
    let space = json!({ "room_version": "11", "type": "m.space" });
    world.state(b, alice(), "m.room.create", "", space).await;
    let user = world.viewer(alice()).await.user;
    let direct = serde_json::value::to_raw_value(&json!({ "@bob:one": [c] })).unwrap();
    let set = world.store.write::<_, luxchat_store::Error, _>(move |tx| {
        tx.set_account_data(user, "m.direct", &direct)
    });
    set.await.unwrap();
    for (filters, expected) in [
        (json!({}), vec![a, b, c, invited]),
        (json!({ "is_encrypted": true }), vec![a]),
        (json!({ "is_invite": true }), vec![invited]),
        (
            json!({ "is_invite": false, "is_encrypted": false }),
            vec![b, c],
        ),
        (json!({ "is_dm": true }), vec![c]),
        (json!({ "is_dm": false, "is_invite": false }), vec![a, b]),
        (json!({ "room_types": ["m.space"] }), vec![b]),
        (
            json!({ "not_room_types": ["m.space"] }),
            vec![a, c, invited],
        ),
        (
            json!({ "room_types": [null], "not_room_types": [null] }),
            vec![],
        ),
    ] {
        let mut body = list(9, 1, json!([]));
        body["lists"]["all"]["filters"] = filters.clone();
        let response = slide(&world, alice(), None, &body).await;
        assert_eq!(
            response.rooms.keys().collect::<Vec<_>>(),
            expected,
            "{filters}"
        );
        let count = response.lists["all"].count;
        assert_eq!(count, u32::try_from(expected.len()).unwrap().into());
        if let Some(room) = response.rooms.get(c) {
            assert_eq!(room.is_dm, Some(true));
        }
    }
}

#[tokio::test]
async fn an_invite_turns_into_a_room_and_ends() {
    let world = World::with_room().await;
    let name = json!({ "name": "Weather" });
    world
        .state(the_room(), alice(), "m.room.name", "", name)
        .await;
    world.member(the_room(), alice(), bob(), "invite").await;
    let body = list(9, 2, json!([["m.room.member", "$ME"]]));
    let invited = slide(&world, bob(), None, &body).await;
    let room = &invited.rooms[the_room()];
    let stripped = plain(room.invite_state.as_ref().unwrap());
    assert!(
        stripped
            .iter()
            .any(|event| event["content"]["name"] == "Weather")
    );
    assert!(room.timeline.is_empty());
    world.member(the_room(), bob(), bob(), "join").await;
    let joined = slide(&world, bob(), Some(&invited.pos), &body).await;
    let room = &joined.rooms[the_room()];
    assert_eq!(
        (room.initial, room.invite_state.is_none()),
        (Some(true), true)
    );
    assert_eq!(bodies(&room.timeline).last().unwrap(), "m.room.member");
    world.message(the_room(), alice(), "bye").await;
    world.member(the_room(), alice(), bob(), "leave").await;
    world.message(the_room(), alice(), "a secret").await;
    let left = slide(&world, bob(), Some(&joined.pos), &body).await;
    let room = &left.rooms[the_room()];
    assert_eq!(bodies(&room.timeline), ["bye", "m.room.member"]);
    assert_eq!(
        plain(&room.required_state)[0]["content"]["membership"],
        "leave"
    );
    assert_eq!(left.lists["all"].count, 0_u32.into());
    world.message(the_room(), alice(), "another secret").await;
    let after = slide(&world, bob(), Some(&left.pos), &body).await;
    assert!(after.rooms.is_empty());
}

#[tokio::test]
async fn nobody_sees_a_room_that_is_not_theirs() {
    let world = World::with_room().await;
    world.message(the_room(), alice(), "a secret").await;
    let mut body = list(9, 9, json!([["*", "*"]]));
    body["room_subscriptions"] = json!({ the_room(): { "timeline_limit": 9 } });
    let response = slide(&world, bob(), None, &body).await;
    assert!(response.rooms.is_empty());
    assert_eq!(response.lists["all"].count, 0_u32.into());
}

#[tokio::test]
async fn an_unknown_position_is_refused() {
    let world = World::with_room().await;
    let body = list(9, 1, json!([]));
    let response = slide(&world, alice(), None, &body).await;
    for pos in ["", "1", "made.up.1"] {
        let error = try_slide(&world, alice(), Some(pos), &body)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::UnknownPos), "{pos:?}: {error}");
    }
    let others = try_slide(&world, bob(), Some(&response.pos), &body).await;
    assert!(matches!(others, Err(Error::UnknownPos)));
}

#[tokio::test]
async fn messages_to_the_device_come_after_a_token_of_their_own() {
    let world = World::new().await;
    let send = async |number: u32| {
        let user = world.viewer(alice()).await.user;
        let event = json!({ "type": "org.example", "sender": bob(), "content": { "body": number.to_string() } });
        let event = Raw::<AnyToDeviceEvent>::from_json_string(event.to_string()).unwrap();
        let write = world
            .store
            .write(move |tx| tx.deliver_to_device(user, [("DEVICE".into(), &event)]));
        write.await.unwrap();
    };
    send(1).await;
    send(2).await;
    let body = |since: Option<&str>| {
        let mut asked = json!({ "enabled": true, "limit": 1 });
        if let Some(since) = since {
            asked["since"] = since.into();
        }
        json!({ "extensions": { "to_device": asked } })
    };
    let first = slide(&world, alice(), None, &body(None)).await;
    let messages = first.extensions.to_device.unwrap();
    assert_eq!(bodies(&messages.events), ["1"]);
    // Asking again without having received them brings the same.
    let again = slide(&world, alice(), Some(&first.pos), &body(None)).await;
    assert_eq!(bodies(&again.extensions.to_device.unwrap().events), ["1"]);
    let next = body(Some(&messages.next_batch));
    let second = slide(&world, alice(), Some(&again.pos), &next).await;
    let messages = second.extensions.to_device.unwrap();
    assert_eq!(bodies(&messages.events), ["2"]);
    let next = body(Some(&messages.next_batch));
    let third = slide(&world, alice(), Some(&second.pos), &next).await;
    assert!(third.extensions.to_device.unwrap().events.is_empty());
}

#[tokio::test]
async fn receipts_and_account_data_and_typing_come_beside_the_rooms() {
    let world = World::with_room().await;
    let said = world.message(the_room(), alice(), "hello").await;
    world.member(the_room(), bob(), bob(), "join").await;
    let read = async |user| {
        let set = world.receipts.set(
            user,
            the_room(),
            &said,
            ReceiptKind::Public,
            ReceiptThread::Unthreaded,
        );
        set.await.unwrap();
    };
    let user = world.viewer(alice()).await.user;
    let set = async |event_type: &'static str| {
        let write = world.store.write::<_, luxchat_store::Error, _>(move |tx| {
            let room = tx.room_by_id(the_room())?.unwrap().nid;
            let content = serde_json::value::to_raw_value(&json!({ "set": true })).unwrap();
            tx.set_room_account_data(user, room, event_type, &content)
        });
        write.await.unwrap();
    };
    set("org.example.one").await;
    let mut body = list(9, 2, json!([]));
    body["extensions"] = json!({
        "account_data": { "enabled": true }, "receipts": { "enabled": true }, "typing": { "enabled": true },
        "e2ee": { "enabled": true },
    });
    let first = slide(&world, alice(), None, &body).await;
    let global = plain(&first.extensions.account_data.global);
    assert_eq!(global[0]["type"], "m.push_rules");
    let own = &first.extensions.account_data.rooms[the_room()];
    assert_eq!(plain(own)[0]["type"], "org.example.one");
    assert!(
        first
            .extensions
            .e2ee
            .device_unused_fallback_key_types
            .is_some()
    );
    world
        .typing
        .start(alice(), the_room(), Duration::from_mins(1))
        .await
        .unwrap();
    set("org.example.two").await;
    read(bob()).await;
    let second = slide(&world, alice(), Some(&first.pos), &body).await;
    assert!(second.rooms.is_empty());
    let extensions = &second.extensions;
    assert!(extensions.account_data.global.is_empty());
    let own = plain(&extensions.account_data.rooms[the_room()]);
    assert_eq!((own.len(), &own[0]["type"]), (1, &json!("org.example.two")));
    let typing: Value =
        serde_json::from_str(extensions.typing.rooms[the_room()].json().get()).unwrap();
    assert_eq!(typing["content"]["user_ids"], json!([alice()]));
    let receipt: Value =
        serde_json::from_str(extensions.receipts.rooms[the_room()].json().get()).unwrap();
    assert!(receipt["content"][said.as_str()]["m.read"][bob().as_str()].is_object());
    let third = slide(&world, alice(), Some(&second.pos), &body).await;
    assert!(third.extensions.receipts.is_empty());
    assert!(third.extensions.typing.is_empty() && third.extensions.account_data.is_empty());
}

#[tokio::test]
async fn a_sync_waits_until_something_happens_in_its_window() {
    let world = World::with_room().await;
    let body = list(9, 5, json!([]));
    let first = slide(&world, alice(), None, &body).await;
    let viewer = world.viewer(alice()).await;
    let mut request = asked(Some(&first.pos), &body);
    request.timeout = Some(Duration::from_mins(1));
    let (response, _) = tokio::join!(
        world.sync.sync_sliding(viewer, request.into()),
        world.message(the_room(), alice(), "at last"),
    );
    let response = response.unwrap();
    assert_eq!(
        bodies(&response.common.rooms[the_room()].timeline),
        ["at last"]
    );
}

#[tokio::test]
async fn a_request_for_too_much_is_refused() {
    let world = World::new().await;
    let ranges: Vec<_> = (0..100).map(|place| [place, place]).collect();
    let body = json!({ "lists": { "all": { "ranges": ranges, "timeline_limit": 1 } } });
    let refused = try_slide(&world, alice(), None, &body).await;
    assert!(matches!(refused, Err(Error::Invalid(_))));
}
