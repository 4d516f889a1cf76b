//! A policy server that signs what it likes, and what becomes of the rest.

use std::sync::Arc;

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::post};
use luxchat_rooms::Error;
use luxchat_store::EventStatus;
use ruma::{
    CanonicalJsonObject, OwnedRoomId, OwnedUserId, RoomVersionId,
    serde::{Base64, base64::Standard},
    signatures::{Ed25519KeyPair, sign_event},
};
use serde_json::{Value, json};

use crate::nation::{Nation, Server, moderate};

const VERSION: RoomVersionId = RoomVersionId::V11;

/// A room with Alice of `one`, Bob of `two`, and a policy server that does not sign what says "bad".
struct Scene {
    one: Server,
    two: Server,
    alice: OwnedUserId,
    bob: OwnedUserId,
    room: OwnedRoomId,
}

impl Scene {
    async fn new() -> Self {
        let nation = Nation::new();
        let (room, [(one, alice), (two, bob)]) = nation.shared_room(VERSION).await;
        let (guard, watcher) = nation.server_of("guard", "watcher").await;
        guard.join(&watcher, &room, &[&one]).await.unwrap();
        one.deliver(&two).await;

        let key = Ed25519KeyPair::generate();
        let key = Ed25519KeyPair::from_der(&key, "policy_server".to_owned()).unwrap();
        let public: Base64<Standard, Vec<u8>> = Base64::new(key.public_key().to_vec());
        nation
            .network
            .attach(guard.name().to_owned(), signing(Arc::new(key)));
        let policy = json!({ "via": "guard", "public_keys": { "ed25519": public.encode() } });
        one.send(&alice, &room, "m.room.policy", Some(""), policy)
            .await
            .unwrap();
        one.deliver(&two).await;
        Self {
            one,
            two,
            alice,
            bob,
            room,
        }
    }
}

fn signing(key: Arc<Ed25519KeyPair>) -> Router {
    let sign = move |Json(mut object): Json<CanonicalJsonObject>| async move {
        let pdu = serde_json::to_value(&object).unwrap();
        if pdu["content"]["body"] == "bad" {
            let error = json!({ "errcode": "M_FORBIDDEN", "error": "not here" });
            return (StatusCode::FORBIDDEN, Json(error)).into_response();
        }
        let rules = VERSION.rules().unwrap().redaction;
        sign_event("guard", &*key, &mut object, &rules).unwrap();
        let signed = serde_json::to_value(&object).unwrap();
        let own = signed["signatures"]["guard"].clone();
        Json(json!({ "guard": own })).into_response()
    };
    Router::new().route("/_matrix/policy/v1/sign", post(sign))
}

fn says(body: &str) -> Value {
    json!({ "msgtype": "m.text", "body": body })
}

#[tokio::test]
async fn what_the_policy_server_signs_is_sent_and_seen_elsewhere() {
    let scene = Scene::new().await;
    let sent = scene.one.say(&scene.alice, &scene.room, "good").await;
    let stored = scene.one.event(&scene.room, &sent).await.unwrap();
    let stored: Value = serde_json::from_str(&stored.json).unwrap();
    assert!(stored["signatures"]["guard"]["ed25519:policy_server"].is_string());
    scene.one.deliver(&scene.two).await;
    assert_eq!(scene.two.bodies(&scene.room).await, ["good"]);
}

#[tokio::test]
async fn what_it_does_not_sign_is_not_sent() {
    let scene = Scene::new().await;
    let refused = scene
        .one
        .send(
            &scene.alice,
            &scene.room,
            "m.room.message",
            None,
            says("bad"),
        )
        .await;
    assert!(matches!(refused, Err(Error::Remote(_))), "{refused:?}");
    assert!(scene.one.bodies(&scene.room).await.is_empty());
}

#[tokio::test]
async fn memberships_are_signed_like_all_else() {
    let scene = Scene::new().await;
    let (alice, room) = (&scene.alice, &scene.room);
    scene
        .one
        .rooms
        .kick(moderate(alice, room, &scene.bob))
        .await
        .unwrap();
    let carol = scene.one.user("carol").await;
    scene.one.join(&carol, room, &[]).await.unwrap();
    scene.one.rooms.leave(&carol, room, None).await.unwrap();
    let state = scene.one.state(room).await;
    for user in [scene.bob.as_str(), carol.as_str()] {
        let key = ("m.room.member".to_owned(), user.to_owned());
        let event = scene.one.event(room, &state[&key]).await.unwrap();
        assert!(event.json.contains("ed25519:policy_server"), "{user}");
    }
}

#[tokio::test]
async fn what_others_send_without_a_signature_is_signed_or_held_back() {
    let scene = Scene::new().await;
    for (body, status) in [
        ("good", EventStatus::Accepted),
        ("bad", EventStatus::SoftFailed),
    ] {
        let draft = scene
            .two
            .draft(&scene.room, &scene.bob, "m.room.message", None, says(body))
            .await;
        let event = scene.two.sign(&draft, &VERSION);
        scene
            .one
            .receive_one(&scene.two, event.json.clone())
            .await
            .unwrap();
        let stored = scene.one.event(&scene.room, &event.event_id).await;
        assert_eq!(stored.unwrap().status, status, "{body}");
    }
    assert_eq!(scene.one.bodies(&scene.room).await, ["good"]);
}
