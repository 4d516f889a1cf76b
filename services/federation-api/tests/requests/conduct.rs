//! How peers are met that lie, and that they are the only ones.

use std::time::Duration;

use futures_util::future::join_all;
use luxchat_federation::{Offence, Standing};
use serde_json::{Value, json};

use crate::fixture::{Server, code, two_servers};

const PROFILE: &str = "/_matrix/federation/v1/query/profile?user_id=%40alice%3Aa.lu";

fn is_refused(server: &Server, peer: &Server) -> bool {
    let standing = server.federation.conduct().standing(peer.name());
    matches!(standing, Standing::Refused(_))
}

/// An event of a user of `peer` that bears a signature of it, which was made for another.
fn forged(peer: &Server, room_id: &ruma::RoomId, number: u32) -> Value {
    let signature = ruma::serde::Base64::<ruma::serde::base64::Standard>::new(vec![7; 64]);
    json!({
        "auth_events": [], "content": { "body": number }, "depth": 3, "hashes": { "sha256": "" },
        "origin_server_ts": 1, "prev_events": ["$a"], "room_id": room_id,
        "sender": format!("@mallory:{}", peer.name()),
        "signatures": { peer.name().as_str(): { "ed25519:1": signature.encode() } },
        "type": "m.room.message",
    })
}

#[tokio::test]
async fn who_forges_events_is_refused_with_the_reason() {
    let (a, b) = two_servers();
    let alice = a.user("alice").await;
    let room = a.public_room(&alice).await;
    let bob = b.user("bob").await;
    b.join(&bob, &room, &a).await;
    // More than it takes: some of it is forgiven by the time that the last one has been looked at.
    let pdus: Vec<Value> = (0..20).map(|number| forged(&b, &room, number)).collect();
    let body = json!({ "origin": "b.lu", "origin_server_ts": 1, "pdus": pdus });
    let path = "/_matrix/federation/v1/send/1";
    let request = b.signed(&a, "PUT", path, Some(&body));
    let answer = a.answer("b.lu", request).await;
    assert_eq!(code(&answer), (200, ""));
    let results = answer.1["pdus"].as_object().unwrap();
    assert!(results.values().all(|result| result["error"].is_string()));

    assert!(is_refused(&a, &b));
    let answer = a.answer("b.lu", b.signed(&a, "GET", PROFILE, None)).await;
    assert_eq!(code(&answer), (403, "M_FORBIDDEN"));
    let why = answer.1["error"].as_str().unwrap();
    assert!(
        why.contains("seconds") && why.contains("signatures"),
        "{why}"
    );
    assert_eq!(a.federation.conduct().offenders(9)[0].server, b.name());
}

#[tokio::test]
async fn who_floods_is_told_when_to_come_again() {
    let (a, b) = two_servers();
    while !is_refused(&a, &b) {
        a.federation.conduct().note(b.name(), Offence::Flood);
    }
    let answer = a.answer("b.lu", b.signed(&a, "GET", PROFILE, None)).await;
    assert_eq!(code(&answer), (429, "M_LIMIT_EXCEEDED"));
    let wait = Duration::from_millis(answer.1["retry_after_ms"].as_u64().unwrap());
    assert!(wait > Duration::from_secs(30) && wait <= Duration::from_mins(1));
}

#[tokio::test]
async fn a_request_in_anothers_name_counts_against_who_made_it() {
    let (a, b) = two_servers();
    a.user("alice").await;
    // Side by side: whoever is slowed waits up to two seconds for each answer.
    let forged = || a.answer("mallory.lu", b.signed(&a, "GET", PROFILE, None));
    join_all((0..150).map(|_| forged())).await;
    let conduct = a.federation.conduct();
    let mallory = ruma::server_name!("mallory.lu");
    assert!(matches!(conduct.standing(mallory), Standing::Refused(_)));
    assert_eq!(conduct.standing(b.name()), Standing::Good);
    let answer = a.answer("b.lu", b.signed(&a, "GET", PROFILE, None)).await;
    assert_eq!(code(&answer), (200, ""));
}

#[tokio::test]
async fn what_others_forged_is_not_held_against_who_passes_it_on() {
    let (a, b) = two_servers();
    let alice = a.user("alice").await;
    let room = a.public_room(&alice).await;
    let bob = b.user("bob").await;
    b.join(&bob, &room, &a).await;
    // Events that claim to be of a third server, which nobody reaches.
    let pdus: Vec<Value> = (0..50)
        .map(|number| {
            let text = forged(&b, &room, number).to_string();
            serde_json::from_str(&text.replace("b.lu", "c.lu")).unwrap()
        })
        .collect();
    let body = json!({ "origin": "b.lu", "origin_server_ts": 1, "pdus": pdus });
    let request = b.signed(&a, "PUT", "/_matrix/federation/v1/send/1", Some(&body));
    assert_eq!(code(&a.answer("b.lu", request).await), (200, ""));
    assert_eq!(a.federation.conduct().standing(b.name()), Standing::Good);
}

#[tokio::test]
async fn an_honest_rush_is_served_to_the_last_request() {
    let (a, b) = two_servers();
    a.user("alice").await;
    // More at once than one peer may have served at a time.
    let requests = (0..300).map(|_| a.answer("b.lu", b.signed(&a, "GET", PROFILE, None)));
    let answers = join_all(requests).await;
    assert!(answers.iter().all(|answer| answer.0 == 200));
    assert_eq!(a.federation.conduct().standing(b.name()), Standing::Good);
}
