//! A member of the nation that goes bad: forged origins, replays, requests that make no sense. Its certificate is good.

use anyhow::{Context, Result, ensure};
use luxchat_testkit::{Kit, messages};
use serde_json::{Value, json};

use crate::{
    health::assert_healthy,
    impostor::{Impostor, TARGET},
};

const SEND: &str = "/_matrix/federation/v1/send";

fn transaction(pdus: Vec<Value>, edus: Vec<Value>) -> Value {
    json!({ "origin": "sante.demo.lu", "origin_server_ts": 1, "pdus": pdus, "edus": edus })
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["errcode"].as_str().unwrap_or_default())
}

/// A request counts only in the name that the certificate bears, and only as it was signed.
#[tokio::test]
async fn a_forged_origin_is_refused_with_its_reason() -> Result<()> {
    let kit = Kit::start().await?;
    let sante = Impostor::with_identity_of(&kit, "sante")?;
    let (path, body) = (format!("{SEND}/1"), transaction(vec![], vec![]));
    let forged = sante.call_as("directory.demo.lu", "PUT", &path, Some(&body));
    let forged = forged.await?;
    assert_eq!(code(&forged), (403, "M_FORBIDDEN"));
    let reason = forged.1["error"].as_str().unwrap_or_default();
    ensure!(
        reason.contains("sante.demo.lu") && reason.contains("directory.demo.lu"),
        "{reason}"
    );
    let own_name = format!("{TARGET}.demo.lu");
    let forged = sante.call_as(&own_name, "PUT", &path, Some(&body)).await?;
    assert_eq!(code(&forged), (403, "M_FORBIDDEN"));

    let bytes = serde_json::to_vec(&body)?;
    for header in ["", "Bearer token", "X-Matrix", "X-Matrix origin="] {
        let unsigned = sante.send("PUT", &path, header, &bytes).await?;
        assert_eq!(code(&unsigned), (401, "M_UNAUTHORIZED"), "{header:?}");
    }
    let signature = "X-Matrix origin=\"sante.demo.lu\",destination=\"interieur.demo.lu\",key=\"ed25519:a\",sig=\"AAAA\"";
    let wrong = sante.send("PUT", &path, signature, &bytes).await?;
    assert_eq!(code(&wrong), (401, "M_UNAUTHORIZED"));
    assert_healthy(&kit, TARGET).await
}

/// A transaction that comes again is answered as before and does nothing; an event that comes again in another one neither.
#[tokio::test]
async fn what_is_replayed_counts_once() -> Result<()> {
    let kit = Kit::start().await?;
    let alice = kit.agent(TARGET, "alice").await?;
    let bob = kit.agent("sante", "bob").await?;
    let room = alice
        .create_room(&json!({ "preset": "public_chat" }))
        .await?;
    bob.join(&room, &["interieur.demo.lu"]).await?;
    let event_id = bob.send_text(&room, "once", "only once").await?;
    let arrived = |sync: &Value| messages(sync, &room).next().map(drop);
    alice.sync_until(None, "the message", arrived).await?;

    let sante = Impostor::with_identity_of(&kit, "sante")?;
    let path = format!("/_matrix/federation/v1/event/{event_id}");
    let (status, mut event) = sante.call("GET", &path, None).await?;
    assert_eq!(status, 200, "{event}");
    let pdu = event["pdus"][0].take();
    let edu = json!({
        "edu_type": "m.direct_to_device",
        "content": {
            "sender": bob.user_id,
            "type": "lu.test",
            "message_id": "one",
            "messages": { &alice.user_id: { &alice.device_id: { "number": 1 } } },
        },
    });
    let replayed = transaction(vec![pdu.clone()], vec![edu]);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let path = format!("{SEND}/replayed");
        answers.push(sante.call("PUT", &path, Some(&replayed)).await?);
    }
    let first = answers.first().context("three answers")?;
    assert_eq!(first.0, 200, "{first:?}");
    assert_eq!(first.1["pdus"], json!({ event_id: {} }));
    ensure!(answers.iter().all(|answer| answer == first), "{answers:?}");
    let other = transaction(vec![pdu.clone(), pdu], vec![]);
    let (status, answer) = sante
        .call("PUT", &format!("{SEND}/other"), Some(&other))
        .await?;
    assert_eq!(status, 200, "{answer}");

    let sync = alice.sync(None, std::time::Duration::ZERO).await?;
    assert_eq!(messages(&sync, &room).count(), 1);
    let to_device = sync["to_device"]["events"].as_array();
    assert_eq!(to_device.map(Vec::len), Some(1), "{sync}");
    Ok(())
}

/// Whatever a member signs and sends: the answer is an error of the sender's, never one of the box's.
#[tokio::test]
async fn requests_that_make_no_sense_are_the_senders_error() -> Result<()> {
    let kit = Kit::start().await?;
    let sante = Impostor::with_identity_of(&kit, "sante")?;
    let alice = kit.agent(TARGET, "alice").await?;
    let room = alice
        .create_room(&json!({ "preset": "public_chat" }))
        .await?;
    let bodies = [
        json!({}),
        json!({ "origin": 7, "pdus": "x", "room_id": {}, "device_keys": [], "one_time_keys": 1, "limit": "many" }),
        json!({ "pdus": [1, "x", null, [], {}], "edus": [1, {}], "origin": "sante.demo.lu", "origin_server_ts": 1 }),
        json!({ "room_id": room, "type": "m.room.member", "sender": "@b:sante.demo.lu", "state_key": "@b:sante.demo.lu" }),
        json!({ "room_version": "9", "event": {}, "invite_room_state": [] }),
        json!({ "earliest_events": ["x"], "latest_events": ["$x"], "limit": -1, "min_depth": -5 }),
    ];
    let user = "@b:sante.demo.lu";
    for (method, path) in [
        ("PUT", format!("{SEND}/%20%00")),
        ("PUT", format!("/_matrix/federation/v2/send_join/{room}/$x")),
        (
            "PUT",
            format!("/_matrix/federation/v2/send_leave/{room}/$x"),
        ),
        (
            "PUT",
            format!("/_matrix/federation/v1/send_knock/{room}/$x"),
        ),
        ("PUT", format!("/_matrix/federation/v2/invite/{room}/$x")),
        ("PUT", "/_matrix/federation/v2/invite/x/x".to_owned()),
        (
            "POST",
            format!("/_matrix/federation/v1/get_missing_events/{room}"),
        ),
        ("POST", "/_matrix/federation/v1/user/keys/query".to_owned()),
        ("POST", "/_matrix/federation/v1/user/keys/claim".to_owned()),
        ("POST", "/_matrix/federation/v1/publicRooms".to_owned()),
        (
            "GET",
            format!("/_matrix/federation/v1/make_join/{room}/{user}"),
        ),
        (
            "GET",
            format!("/_matrix/federation/v1/make_join/{room}/x?ver="),
        ),
        (
            "GET",
            format!("/_matrix/federation/v1/make_leave/{room}/{user}"),
        ),
        (
            "GET",
            "/_matrix/federation/v1/make_knock/!no:where/@b:sante.demo.lu".to_owned(),
        ),
        (
            "GET",
            format!("/_matrix/federation/v1/backfill/{room}?v=x&limit=-1"),
        ),
        (
            "GET",
            format!("/_matrix/federation/v1/backfill/{room}?v=$x&limit=99999999999"),
        ),
        (
            "GET",
            format!("/_matrix/federation/v1/state/{room}?event_id=x"),
        ),
        ("GET", format!("/_matrix/federation/v1/state_ids/{room}")),
        ("GET", format!("/_matrix/federation/v1/event_auth/{room}/x")),
        ("GET", "/_matrix/federation/v1/event/%ff".to_owned()),
        (
            "GET",
            "/_matrix/federation/v1/query/profile?user_id=x".to_owned(),
        ),
        (
            "GET",
            "/_matrix/federation/v1/query/directory?room_alias=x".to_owned(),
        ),
        ("GET", "/_matrix/federation/v1/user/devices/x".to_owned()),
        ("GET", "/_matrix/federation/v1/hierarchy/x".to_owned()),
        ("GET", "/_matrix/federation/v9/nothing".to_owned()),
    ] {
        let bodies = bodies.iter().map(Some).chain([None]);
        for body in bodies.filter(|body| body.is_none() == (method == "GET")) {
            let answer = sante.call(method, &path, body).await?;
            let told = answer.0 == 200 || answer.1["errcode"].is_string();
            ensure!(
                answer.0 < 500 && told,
                "{method} {path} {body:?}: {answer:?}"
            );
        }
    }
    assert_healthy(&kit, TARGET).await
}
