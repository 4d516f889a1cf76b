//! End-to-end encryption across servers of one process: what one server's users publish and send reaches those of the
//! other through the sender, the signed endpoints and nothing else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod server;

use std::collections::BTreeMap;

use luxchat_federation::MemoryNetwork;
use ruma::OneTimeKeyAlgorithm;
use serde_json::json;

use crate::server::{Device, Server};

/// Alice on server one and Bob on server two, in a room.
async fn two_servers() -> ((Server, Device), (Server, Device)) {
    let network = MemoryNetwork::new();
    let (one, two) = (Server::new("one", &network), Server::new("two", &network));
    let alice = one.device("alice", "PHONE").await;
    let bob = two.device("bob", "LAPTOP").await;
    let room = one.public_room(&alice.user).await;
    two.join(&bob.user, &room, &one).await;
    ((one, alice), (two, bob))
}

#[tokio::test]
async fn keys_are_queried_and_claimed() {
    let ((one, alice), (two, bob)) = two_servers().await;
    one.upload_one_time_key(&alice, "key").await;
    assert_eq!(two.devices_of(&alice.user, &bob).await, ["PHONE"]);
    let claims = || {
        let algorithm = OneTimeKeyAlgorithm::SignedCurve25519;
        let devices = BTreeMap::from([(alice.id.clone(), algorithm)]);
        BTreeMap::from([(alice.user.clone(), devices)])
    };
    let claimed = two.encryption.claim_keys(claims(), None).await.unwrap();
    let keys = &claimed.keys[&alice.user][&alice.id];
    assert!(keys.contains_key("signed_curve25519:key"));
    let claimed = two.encryption.claim_keys(claims(), None).await.unwrap();
    assert!(claimed.keys.is_empty() && claimed.failures.is_empty());
}

#[tokio::test]
async fn messages_reach_devices_in_order_and_once() {
    let ((one, alice), (two, bob)) = two_servers().await;
    for number in ["1", "2", "2", "3"] {
        one.send_to_device(&alice, number, &bob, &json!({ "number": number }))
            .await;
    }
    two.wait_for(&bob, async || two.inbox(&bob).await.len() == 3)
        .await;
    let numbers: Vec<_> = two
        .inbox(&bob)
        .await
        .into_iter()
        .map(|event| event["content"]["number"].clone())
        .collect();
    assert_eq!(numbers, ["1", "2", "3"]);
    // The sender forgets what arrived.
    one.wait_for(&alice, async || one.outbox(&two).await == 0)
        .await;
}

#[tokio::test]
async fn changes_of_devices_reach_those_who_share_a_room() {
    let ((one, alice), (two, bob)) = two_servers().await;
    assert_eq!(two.devices_of(&alice.user, &bob).await, ["PHONE"]);
    let since = two.position().await;
    one.device("alice", "TABLET").await;
    two.wait_for(&bob, async || {
        let changes = two.changes(&bob.user, since).await;
        changes.contains(&alice.user) && two.devices_of(&alice.user, &bob).await.len() == 2
    })
    .await;

    one.delete_device(&alice).await;
    two.wait_for(&bob, async || {
        two.devices_of(&alice.user, &bob).await == ["TABLET"]
    })
    .await;
}

#[tokio::test]
async fn new_cross_signing_keys_reach_those_who_share_a_room() {
    let ((one, alice), (two, bob)) = two_servers().await;
    assert_eq!(two.master_key_of(&alice.user, &bob).await, None);
    one.publish_master_key(&alice.user, "bWFzdGVy").await;
    two.wait_for(&bob, async || {
        two.master_key_of(&alice.user, &bob).await.as_deref() == Some("bWFzdGVy")
    })
    .await;
}
