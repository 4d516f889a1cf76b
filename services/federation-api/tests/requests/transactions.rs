use luxchat_store::Position;
use ruma::{UserId, server_name};
use serde_json::{Value, json};

use crate::fixture::{Server, code, two_servers};

pub(crate) fn path(id: &str) -> String {
    format!("/_matrix/federation/v1/send/{id}")
}

pub(crate) fn transaction(pdus: Vec<Value>, edus: Vec<Value>) -> Value {
    json!({ "origin": "a.lu", "origin_server_ts": 1, "pdus": pdus, "edus": edus })
}

/// Everything that `from` has to send to `b.lu` in PDUs.
async fn outbox(from: &Server) -> Vec<Value> {
    let pdus = from.store.read(|tx| {
        let server = tx.server_nid(server_name!("b.lu"))?.unwrap();
        tx.outgoing_pdus(server, Position::START, 1_000)
    });
    let pdus: luxchat_store::Result<_> = pdus.await;
    let (pdus, _) = pdus.unwrap();
    pdus.into_iter()
        .map(|(_, _, json)| serde_json::from_str(&json).unwrap())
        .collect()
}

/// A room of `a` that a user of `b` is in, with a message that `b` has not got yet.
async fn shared_room(a: &Server, b: &Server) -> (ruma::OwnedRoomId, Vec<Value>) {
    let (alice, bob) = (a.user("alice").await, b.user("bob").await);
    let room = a.public_room(&alice).await;
    b.join(&bob, &room, a).await;
    a.say(&alice, &room, "hello").await;
    let pdus = outbox(a).await;
    (room, pdus)
}

async fn to_device_messages(at: &Server, user: &UserId) -> usize {
    let user = user.to_owned();
    let inbox = at.store.read(move |tx| {
        let user = tx.user_nid(&user)?.unwrap();
        let device = ruma::device_id!("PHONE");
        tx.to_device_messages(user, device, Position::START, tx.position()?, 100)
    });
    let inbox: luxchat_store::Result<_> = inbox.await;
    inbox.unwrap().events.len()
}

#[tokio::test]
async fn events_come_with_a_result_each() {
    let (a, b) = two_servers();
    let (room, mut pdus) = shared_room(&a, &b).await;
    let good = pdus.last().cloned().unwrap();
    let mut forged = good.clone();
    forged["origin_server_ts"] = json!(7);
    pdus.push(forged);
    let request = a.signed(&b, "PUT", &path("1"), Some(&transaction(pdus, vec![])));
    let (status, answer) = b.answer("a.lu", request).await;
    assert_eq!(status, 200, "{answer}");
    let results = answer["pdus"].as_object().unwrap();
    let errors = results
        .values()
        .filter(|result| result["error"].is_string());
    assert_eq!(errors.count(), 1, "{answer}");
    assert_eq!(b.bodies(&room).await, ["hello"]);
}

#[tokio::test]
async fn a_replayed_transaction_is_answered_as_before_and_does_nothing() {
    let (a, b) = two_servers();
    let (room, pdus) = shared_room(&a, &b).await;
    let first = transaction(pdus, vec![]);
    let request = a.signed(&b, "PUT", &path("same"), Some(&first));
    let one = b.answer("a.lu", request).await;
    // The id decides, not the content: a server never sends two transactions by one id.
    let other = transaction(vec![json!({ "type": "nonsense" })], vec![]);
    let request = a.signed(&b, "PUT", &path("same"), Some(&other));
    let two = b.answer("a.lu", request).await;
    assert_eq!(one, two);
    assert_eq!(b.bodies(&room).await, ["hello"]);
}

#[tokio::test]
async fn the_same_transaction_twice_at_once_is_worked_in_once() {
    let (a, b) = two_servers();
    let bob = b.user("bob").await;
    add_phone(&b, &bob).await;
    let edus: Vec<Value> = (0..50).map(|id| to_device(&id.to_string())).collect();
    let body = transaction(vec![], edus);
    let request = || a.signed(&b, "PUT", &path("twice"), Some(&body));
    let (one, two) = tokio::join!(b.answer("a.lu", request()), b.answer("a.lu", request()));
    assert_eq!(one, two);
    assert_eq!(one.0, 200);
    assert_eq!(to_device_messages(&b, &bob).await, 50);
}

#[tokio::test]
async fn edus_that_are_wrong_or_unknown_are_dropped() {
    let (a, b) = two_servers();
    let bob = b.user("bob").await;
    add_phone(&b, &bob).await;
    let mut forged = to_device("forged");
    forged["content"]["sender"] = json!("@eve:evil.lu");
    let edus = vec![
        forged,
        json!({ "edu_type": "m.presence", "content": { "push": [] } }),
        json!({ "edu_type": "lu.unknown", "content": {} }),
        json!({ "edu_type": "m.typing", "content": "?" }),
        json!(17),
        to_device("good"),
    ];
    let request = a.signed(&b, "PUT", &path("1"), Some(&transaction(vec![], edus)));
    let (status, answer) = b.answer("a.lu", request).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(to_device_messages(&b, &bob).await, 1);
}

#[tokio::test]
async fn a_transaction_has_limits() {
    let (a, b) = two_servers();
    let pdus = vec![json!({}); 51];
    let request = a.signed(&b, "PUT", &path("1"), Some(&transaction(pdus, vec![])));
    assert_eq!(code(&b.answer("a.lu", request).await), (413, "M_TOO_LARGE"));
    let edus = vec![json!({ "edu_type": "x", "content": {} }); 101];
    let request = a.signed(&b, "PUT", &path("2"), Some(&transaction(vec![], edus)));
    assert_eq!(code(&b.answer("a.lu", request).await), (413, "M_TOO_LARGE"));
    let long = "x".repeat(300);
    let request = a.signed(&b, "PUT", &path(&long), Some(&transaction(vec![], vec![])));
    assert_eq!(
        code(&b.answer("a.lu", request).await),
        (400, "M_INVALID_PARAM")
    );
}

#[tokio::test]
async fn events_of_unknown_rooms_do_no_harm() {
    let (a, b) = two_servers();
    let alice = a.user("alice").await;
    let room = a.public_room(&alice).await;
    let all = a.store.read(move |tx| {
        let room = tx.room_by_id(&room)?.unwrap();
        tx.timeline_forwards(room.nid, i64::MIN, i64::MAX, 100)
    });
    let all: luxchat_store::Result<Vec<luxchat_store::Event>> = all.await;
    let pdus: Vec<Value> = all
        .unwrap()
        .into_iter()
        .map(|event| serde_json::from_str(event.pdu().unwrap().json()).unwrap())
        .collect();
    let request = a.signed(&b, "PUT", &path("1"), Some(&transaction(pdus, vec![])));
    let (status, answer) = b.answer("a.lu", request).await;
    assert_eq!((status.as_u16(), answer), (200, json!({ "pdus": {} })));
}

fn to_device(id: &str) -> Value {
    json!({
        "edu_type": "m.direct_to_device",
        "content": {
            "sender": "@alice:a.lu",
            "type": "m.test",
            "message_id": id,
            "messages": { "@bob:b.lu": { "PHONE": { "id": id } } },
        },
    })
}

async fn add_phone(at: &Server, user: &UserId) {
    let user = user.to_owned();
    at.store
        .write(move |tx| {
            let user = tx.user_nid_or_insert(&user)?;
            tx.insert_device(user, ruma::device_id!("PHONE"), None)
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn typing_and_receipts_of_a_server_that_the_room_denies_are_dropped() {
    let (a, b) = two_servers();
    let (alice, bob) = (b.user("alice").await, a.user("bob").await);
    let room = b.public_room(&alice).await;
    a.join(&bob, &room, &b).await;
    b.say(&alice, &room, "hello").await;
    let id = room.clone();
    let newest: luxchat_store::Result<_> = b
        .store
        .read(move |tx| {
            let room = tx.room_by_id(&id)?.unwrap().nid;
            Ok((
                room,
                tx.timeline_forwards(room, 0, i64::MAX, 100)?
                    .pop()
                    .unwrap()
                    .event_id,
            ))
        })
        .await;
    let (room_nid, event_id) = newest.unwrap();
    let edus = |txn: &str| {
        let typing = json!({ "edu_type": "m.typing", "content": {
            "room_id": room, "user_id": bob, "typing": true,
        } });
        let receipt = json!({ "edu_type": "m.receipt", "content": { &room: { "m.read": { &bob: {
            "event_ids": [event_id], "data": { "ts": 1 },
        } } } } });
        a.signed(
            &b,
            "PUT",
            &path(txn),
            Some(&transaction(vec![], vec![typing, receipt])),
        )
    };
    let seen = async || {
        let user = bob.clone();
        let receipts: luxchat_store::Result<_> = b
            .store
            .read(move |tx| {
                let all = tx.room_receipts(room_nid, Position::START, 100)?;
                Ok(all.iter().any(|receipt| receipt.user_id == user))
            })
            .await;
        let types = b
            .typing
            .changed_since(room_nid, Position::START)
            .is_some_and(|who| !who.is_empty());
        (types, receipts.unwrap())
    };

    let deny = json!({ "allow": ["*"], "deny": [a.name()] });
    b.set_state(&alice, &room, "m.room.server_acl", &deny).await;
    assert_eq!(b.answer("a.lu", edus("1")).await.0, 200);
    assert_eq!(seen().await, (false, false));

    b.set_state(
        &alice,
        &room,
        "m.room.server_acl",
        &json!({ "allow": ["*"] }),
    )
    .await;
    assert_eq!(b.answer("a.lu", edus("2")).await.0, 200);
    assert_eq!(seen().await, (true, true));
}
