//! What a hostile server may try, and what comes of it.

use std::collections::HashMap;

use axum::{
    Json, Router,
    extract::Path,
    routing::{get, post},
};
use luxchat_rooms::PduError;
use luxchat_store::EventStatus;
use ruma::{
    CanonicalJsonObject, OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId,
    events::{StateEventType, room::member::MembershipState},
};
use serde_json::{Value, json};

use crate::nation::{Nation, Server, Signed, moderate};

const VERSION: RoomVersionId = RoomVersionId::V11;

/// A room on `one` with Alice, its creator, and Eve of the hostile server `two`.
struct Scene {
    nation: Nation,
    one: Server,
    two: Server,
    alice: OwnedUserId,
    eve: OwnedUserId,
    room: OwnedRoomId,
}

impl Scene {
    async fn new() -> Self {
        let nation = Nation::new();
        let (one, alice) = nation.server_of("one", "alice").await;
        let (two, eve) = nation.server_of("two", "eve").await;
        let room = one.public_room(&alice, VERSION).await;
        two.join(&eve, &room, &[&one]).await.unwrap();
        Self {
            nation,
            one,
            two,
            alice,
            eve,
            room,
        }
    }

    async fn message(&self) -> Value {
        let content = json!({ "msgtype": "m.text", "body": "hello" });
        self.two
            .draft(&self.room, &self.eve, "m.room.message", None, content)
            .await
    }

    /// Two events of Eve's, one behind the other, and nothing that anybody has behind the first.
    async fn invented(&self) -> (Signed, Signed) {
        let mut behind = self.message().await;
        behind["prev_events"] = json!(["$acR1l0raoZnm60CBwAVgqbZqoO_mYU81xysh1u7XcJk"]);
        let behind = self.two.sign(&behind, &VERSION);
        let mut invented = self.message().await;
        invented["prev_events"] = json!([behind.event_id]);
        (behind, self.two.sign(&invented, &VERSION))
    }

    async fn status(&self, event: &Signed) -> Option<EventStatus> {
        let event = self.one.event(&self.room, &event.event_id).await;
        event.map(|event| event.status)
    }
}

#[tokio::test]
async fn a_broken_signature_is_dropped() {
    let scene = Scene::new().await;
    let mut event = scene.two.sign(&scene.message().await, &VERSION).value();
    event["origin_server_ts"] = json!(5);
    let object: CanonicalJsonObject = serde_json::from_value(event).unwrap();
    let event = Signed::of(&object, &VERSION);
    let result = scene.one.receive_one(&scene.two, event.json.clone()).await;
    // It can be nobody's doing but its own.
    let is_forged = matches!(&result, Err(PduError::Forged(server)) if server == "two");
    assert!(is_forged, "{result:?}");
    assert_eq!(scene.status(&event).await, None);
}

#[tokio::test]
async fn an_event_in_the_name_of_another_servers_user_is_dropped() {
    let scene = Scene::new().await;
    let mut event = scene.message().await;
    event["sender"] = json!(scene.alice);
    let event = scene.two.sign(&event, &VERSION);
    let result = scene.one.receive_one(&scene.two, event.json.clone()).await;
    assert!(matches!(result, Err(PduError::Signature(_))), "{result:?}");
    assert_eq!(scene.status(&event).await, None);
}

#[tokio::test]
async fn content_that_does_not_match_its_hash_is_taken_away() {
    let scene = Scene::new().await;
    let mut event = scene.two.sign(&scene.message().await, &VERSION).value();
    event["content"]["body"] = json!("something else");
    let object: CanonicalJsonObject = serde_json::from_value(event).unwrap();
    let event = Signed::of(&object, &VERSION);
    scene
        .one
        .receive_one(&scene.two, event.json.clone())
        .await
        .unwrap();
    let stored = scene.one.event(&scene.room, &event.event_id).await.unwrap();
    assert_eq!(
        stored.pdu().unwrap().content_as::<Value>().unwrap(),
        json!({})
    );
}

#[tokio::test]
async fn what_the_rules_forbid_is_rejected() {
    let scene = Scene::new().await;
    let content = json!({ "name": "Eve's" });
    let event = scene
        .two
        .draft(&scene.room, &scene.eve, "m.room.name", Some(""), content)
        .await;
    let event = scene.two.sign(&event, &VERSION);
    let before = scene.one.state(&scene.room).await;
    scene
        .one
        .receive_one(&scene.two, event.json.clone())
        .await
        .unwrap();
    assert_eq!(scene.status(&event).await, Some(EventStatus::Rejected));
    assert_eq!(scene.one.state(&scene.room).await, before);

    // What builds upon it stands on its own.
    let mut next = scene.message().await;
    next["prev_events"] = json!([event.event_id]);
    let next = scene.two.sign(&next, &VERSION);
    scene
        .one
        .receive_one(&scene.two, next.json.clone())
        .await
        .unwrap();
    assert_eq!(scene.status(&next).await, Some(EventStatus::Accepted));
    assert_eq!(scene.one.state(&scene.room).await, before);
    // And what names it as its authority does not.
    let mut heir = scene.message().await;
    heir["auth_events"] = json!([event.event_id]);
    let heir = scene.two.sign(&heir, &VERSION);
    scene
        .one
        .receive_one(&scene.two, heir.json.clone())
        .await
        .unwrap();
    assert_eq!(scene.status(&heir).await, Some(EventStatus::Rejected));
}

#[tokio::test]
async fn power_that_was_taken_away_does_not_come_back_with_old_parents() {
    let scene = Scene::new().await;
    let levels = StateEventType::RoomPowerLevels;
    let content = scene.one.state_content(&scene.room, levels.clone()).await;
    let mut content = content.unwrap();
    content["users"][scene.eve.as_str()] = json!(50);
    let send = async |content: Value| {
        scene
            .one
            .send(
                &scene.alice,
                &scene.room,
                &levels.to_string(),
                Some(""),
                content,
            )
            .await
            .unwrap();
    };
    send(content.clone()).await;
    scene.one.deliver(&scene.two).await;
    // While Eve has power, her server prepares two events for later.
    let name = json!({ "name": "Eve's" });
    let named = scene
        .two
        .draft(&scene.room, &scene.eve, "m.room.name", Some(""), name)
        .await;
    let named = scene.two.sign(&named, &VERSION);
    content["users"][scene.eve.as_str()] = json!(0);
    send(content).await;
    let before = scene.one.state(&scene.room).await;
    scene
        .one
        .receive_one(&scene.two, named.json.clone())
        .await
        .unwrap();
    assert_eq!(scene.status(&named).await, Some(EventStatus::SoftFailed));
    assert_eq!(scene.one.state(&scene.room).await, before);

    // A message on top of it and of the room's newest event drags it into resolution, which holds against it.
    let tip = scene.one.say(&scene.alice, &scene.room, "tip").await;
    let mut merge = scene.message().await;
    merge["prev_events"] = json!([named.event_id, tip]);
    merge["depth"] = json!(1_000);
    let merge = scene.two.sign(&merge, &VERSION);
    scene
        .one
        .receive_one(&scene.two, merge.json.clone())
        .await
        .unwrap();
    assert_eq!(scene.status(&merge).await, Some(EventStatus::Accepted));
    assert_eq!(scene.one.state(&scene.room).await, before);
}

/// A server that answers every question about the room with some events and one state. One event is all that lies in any
/// gap.
fn liar(in_gap: &Signed, events: Vec<Signed>, state: Vec<OwnedEventId>) -> Router {
    let events: HashMap<_, _> = events
        .iter()
        .map(|event| (event.event_id.to_string(), event.value()))
        .collect();
    let event = async move |Path(event_id): Path<String>| {
        Json(json!({ "origin": "two", "origin_server_ts": 1, "pdus": [events[&event_id]] }))
    };
    let ids = json!({ "pdu_ids": state, "auth_chain_ids": [] });
    let missing = json!({ "events": [in_gap.value()] });
    Router::new()
        .route(
            "/_matrix/federation/v1/get_missing_events/{room}",
            post(async || Json(missing)),
        )
        .route("/_matrix/federation/v1/event/{event}", get(event))
        .route(
            "/_matrix/federation/v1/state_ids/{room}",
            get(async || Json(ids)),
        )
}

#[tokio::test]
async fn a_ban_is_not_undone_by_a_server_that_lies_about_the_state() {
    let scene = Scene::new().await;
    let mallory = scene.two.user("mallory").await;
    scene.two.join(&mallory, &scene.room, &[]).await.unwrap();
    scene.two.deliver(&scene.one).await;
    // The state without the ban, which the liar will tell of behind an event with parents that nobody has.
    let without_ban: Vec<_> = scene.one.state(&scene.room).await.into_values().collect();
    let (behind, invented) = scene.invented().await;
    let router = liar(&invented, vec![behind], without_ban);
    scene
        .nation
        .network
        .attach(scene.two.name().to_owned(), router);

    let ban = moderate(&scene.alice, &scene.room, &mallory);
    scene.one.rooms.ban(ban).await.unwrap();
    let before = scene.one.state(&scene.room).await;
    let tip = scene.one.say(&scene.alice, &scene.room, "tip").await;
    let mut event = scene.message().await;
    event["prev_events"] = json!([invented.event_id, tip]);
    event["depth"] = json!(1_000);
    let event = scene.two.sign(&event, &VERSION);
    scene
        .one
        .receive_one(&scene.two, event.json.clone())
        .await
        .unwrap();
    assert_eq!(scene.status(&event).await, Some(EventStatus::Accepted));
    assert_eq!(scene.one.state(&scene.room).await, before);

    // Nor does Mallory speak on top of the invented event alone.
    let mut event = scene.message().await;
    event["sender"] = json!(mallory);
    event["prev_events"] = json!([invented.event_id]);
    let members = StateEventType::RoomMember.to_string();
    let creates = StateEventType::RoomCreate.to_string();
    let levels = StateEventType::RoomPowerLevels.to_string();
    let two_state = scene.two.state(&scene.room).await;
    event["auth_events"] = json!([
        two_state[&(creates, String::new())],
        two_state[&(levels, String::new())],
        two_state[&(members, mallory.to_string())],
    ]);
    let event = scene.two.sign(&event, &VERSION);
    scene
        .one
        .receive_one(&scene.two, event.json.clone())
        .await
        .unwrap();
    assert_eq!(scene.status(&event).await, Some(EventStatus::SoftFailed));
    let membership = scene.one.membership(&scene.room, &mallory).await;
    assert_eq!(membership, MembershipState::Ban);
    assert_eq!(scene.one.state(&scene.room).await, before);
}

#[tokio::test]
async fn the_state_of_another_room_is_none_of_this_one() {
    let scene = Scene::new().await;
    // A room of Eve's own, in which she may do anything.
    let other = scene.two.public_room(&scene.eve, VERSION).await;
    let foreign: Vec<_> = scene.two.state(&other).await.into_values().collect();
    let (behind, invented) = scene.invented().await;
    let mut events = vec![behind];
    for event_id in &foreign {
        let event = scene.two.event(&other, event_id).await.unwrap();
        let object = event.pdu().unwrap().to_object().unwrap();
        events.push(Signed::of(&object, &VERSION));
    }
    let router = liar(&invented, events, foreign.clone());
    let name = scene.two.name().to_owned();
    scene.nation.network.attach(name, router);

    let before = scene.one.state(&scene.room).await;
    let tip = scene.one.say(&scene.alice, &scene.room, "tip").await;
    let mut event = scene.message().await;
    event["prev_events"] = json!([invented.event_id, tip]);
    event["depth"] = json!(1_000);
    let event = scene.two.sign(&event, &VERSION);
    let _ = scene.one.receive_one(&scene.two, event.json.clone()).await;
    assert_eq!(scene.one.state(&scene.room).await, before);
    for event_id in foreign {
        assert!(scene.one.event(&scene.room, &event_id).await.is_none());
    }
}

#[tokio::test]
async fn a_room_is_not_forked_without_end() {
    let scene = Scene::new().await;
    let fork = scene.message().await;
    let own = scene.two.state(&scene.room).await;
    let forks = (0..210).map(|number| {
        let mut event = fork.clone();
        event["origin_server_ts"] = json!(number);
        if number % 8 == 0 {
            // A state of its own for some of them.
            event["type"] = json!("m.room.member");
            event["state_key"] = json!(scene.eve);
            event["content"] = json!({ "membership": "join", "displayname": number.to_string() });
            let join_rules = &own[&("m.room.join_rules".to_owned(), String::new())];
            let auth_events = event["auth_events"].as_array_mut().unwrap();
            auth_events.push(json!(join_rules));
        }
        scene.two.sign(&event, &VERSION).json
    });
    let received = scene.one.receive(&scene.two, forks.collect()).await;
    assert!(received.values().all(Result::is_ok), "{received:?}");
    assert_eq!(scene.one.tips(&scene.room).await, 200);

    // The room goes on, and comes together again.
    scene
        .one
        .name_room(&scene.alice, &scene.room, "named")
        .await;
    assert_eq!(scene.one.tips(&scene.room).await, 181);
    let name = StateEventType::RoomName;
    let content = scene.one.state_content(&scene.room, name.clone()).await;
    assert_eq!(content.unwrap()["name"], "named");
    let mut event = scene.message().await;
    event["origin_server_ts"] = json!(5_000);
    let event = scene.two.sign(&event, &VERSION);
    let result = scene.one.receive_one(&scene.two, event.json.clone()).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(scene.status(&event).await, Some(EventStatus::Accepted));
    let content = scene.one.state_content(&scene.room, name).await;
    assert_eq!(content.unwrap()["name"], "named");
}

#[tokio::test]
async fn a_server_that_the_room_denies_is_not_heard() {
    let scene = Scene::new().await;
    let content = json!({ "allow": ["*"], "deny": ["two"] });
    scene
        .one
        .send(
            &scene.alice,
            &scene.room,
            "m.room.server_acl",
            Some(""),
            content,
        )
        .await
        .unwrap();
    let event = scene.two.sign(&scene.message().await, &VERSION);
    let result = scene.one.receive_one(&scene.two, event.json.clone()).await;
    assert!(matches!(result, Err(PduError::Denied(_))), "{result:?}");
    let state = scene
        .one
        .rooms
        .serve_state(scene.two.name(), &scene.room, &event.event_id)
        .await;
    assert!(matches!(state, Err(luxchat_rooms::Error::Forbidden(_))));
}

#[tokio::test]
async fn malformed_events_are_dropped_one_by_one() {
    let scene = Scene::new().await;
    let good = scene.two.sign(&scene.message().await, &VERSION);
    let mut many_parents = scene.message().await;
    let parents: Vec<_> = (0..21).map(|number| format!("${number}")).collect();
    many_parents["prev_events"] = json!(parents);
    let mut no_parents = scene.message().await;
    no_parents["prev_events"] = json!([]);
    let mut long = scene.message().await;
    long["content"]["body"] = json!("x".repeat(70_000));
    let mut bad: Vec<_> = [many_parents, no_parents]
        .iter()
        .map(|event| scene.two.sign(event, &VERSION).json)
        .collect();
    long["hashes"] = json!({});
    bad.push(serde_json::value::to_raw_value(&long).unwrap());
    for text in [
        "5",
        "{}",
        r#"{"room_id":"!nowhere"}"#,
        r#"{"room_id":5}"#,
        r#"{"type":1.5}"#,
    ] {
        bad.push(serde_json::value::RawValue::from_string(text.to_owned()).unwrap());
    }
    bad.push(good.json.clone());
    let received = scene.one.receive(&scene.two, bad).await;
    assert!(received[&good.event_id].is_ok());
    assert_eq!(scene.one.bodies(&scene.room).await, ["hello"]);
}
