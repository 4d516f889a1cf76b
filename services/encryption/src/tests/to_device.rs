use std::{collections::BTreeMap, time::Duration};

use luxchat_federation::MemoryNetwork;
use luxchat_store::Position;
use ruma::{
    OwnedUserId, ServerName,
    api::federation::transactions::edu::{DirectDeviceContent, DirectDeviceMessages},
    events::ToDeviceEventType,
    to_device::DeviceIdOrAllDevices,
};
use serde_json::{Value, json};

use super::fixture::{Device, Server, raw, user_id};
use crate::Error;

fn to(user: &str, device: &str, body: &str) -> (OwnedUserId, DeviceIdOrAllDevices, Value) {
    (
        user_id(user),
        DeviceIdOrAllDevices::try_from(device).unwrap(),
        json!({ "body": body }),
    )
}

fn messages(
    all: impl IntoIterator<Item = (OwnedUserId, DeviceIdOrAllDevices, Value)>,
) -> DirectDeviceMessages {
    let mut messages = DirectDeviceMessages::new();
    for (user, device, content) in all {
        let devices: &mut BTreeMap<_, _> = messages.entry(user).or_default();
        devices.insert(device, raw(&content));
    }
    messages
}

async fn send(server: &Server, from: &Device, txn: &str, messages: DirectDeviceMessages) {
    let event_type = ToDeviceEventType::from("m.test");
    server
        .encryption
        .send_to_device(&from.user, &from.id, txn.into(), &event_type, messages)
        .await
        .unwrap();
}

/// The bodies that wait for a device after a position, and where the batch was cut.
async fn waiting(
    server: &Server,
    device: &Device,
    after: Position,
    limit: u32,
) -> (Vec<String>, Option<Position>) {
    let (nid, id) = (server.nid(&device.user).await, device.id.clone());
    let batch = server
        .store
        .read(move |tx| tx.to_device_messages(nid, &id, after, tx.position()?, limit))
        .await
        .unwrap();
    let bodies = batch.events.iter().map(|event| {
        let event: Value = serde_json::from_str(event.json().get()).unwrap();
        event["content"]["body"].as_str().unwrap().to_owned()
    });
    (bodies.collect(), batch.cut_at)
}

async fn acknowledge(server: &Server, device: &Device, until: Position) -> usize {
    let (nid, id) = (server.nid(&device.user).await, device.id.clone());
    server
        .write(move |tx| tx.acknowledge_to_device(nid, &id, until))
        .await
}

#[tokio::test]
async fn messages_wait_until_they_are_acknowledged() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    let bob = server.device("@bob:a.example", "TABLET").await;
    for number in 0..5 {
        let body = number.to_string();
        let message = messages([to("@bob:a.example", "TABLET", &body)]);
        send(&server, &alice, &body, message).await;
    }
    let (first, cut) = waiting(&server, &bob, Position::START, 3).await;
    assert_eq!(first, ["0", "1", "2"]);
    let cut = cut.unwrap();
    // What is not acknowledged comes again.
    assert_eq!(waiting(&server, &bob, Position::START, 3).await.0, first);
    assert_eq!(acknowledge(&server, &bob, cut).await, 3);
    let (rest, cut) = waiting(&server, &bob, Position::START, 3).await;
    assert_eq!((rest, cut), (vec!["3".to_owned(), "4".to_owned()], None));
    assert_eq!(acknowledge(&server, &bob, server.position().await).await, 2);
    assert!(
        waiting(&server, &bob, Position::START, 3)
            .await
            .0
            .is_empty()
    );
}

#[tokio::test]
async fn a_message_to_all_devices_reaches_each_once() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    let tablet = server.device("@bob:a.example", "TABLET").await;
    let laptop = server.device("@bob:a.example", "LAPTOP").await;
    let all = messages([
        to("@bob:a.example", "*", "all"),
        to("@bob:a.example", "LAPTOP", "own"),
        to("@bob:a.example", "GONE", "nobody"),
        to("@nobody:a.example", "*", "nobody"),
    ]);
    send(&server, &alice, "txn", all).await;
    assert_eq!(
        waiting(&server, &tablet, Position::START, 9).await.0,
        ["all"]
    );
    assert_eq!(
        waiting(&server, &laptop, Position::START, 9).await.0,
        ["own"]
    );
}

#[tokio::test]
async fn a_repeated_request_sends_nothing_again() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    let bob = server.device("@bob:a.example", "TABLET").await;
    for txn in ["one", "one", "two"] {
        let message = messages([
            to("@bob:a.example", "TABLET", txn),
            to("@carol:b.example", "*", txn),
        ]);
        send(&server, &alice, txn, message).await;
    }
    let (bodies, _) = waiting(&server, &bob, Position::START, 9).await;
    assert_eq!(bodies, ["one", "two"]);
    let b = server.server_nid("b.example").await;
    let outbox = server
        .store
        .read(move |tx| tx.to_device_outbox(b, Position::START, tx.position()?, 9))
        .await
        .unwrap();
    assert_eq!(outbox.edus.len(), 2);
}

#[tokio::test]
async fn the_outbox_keeps_one_edu_for_each_server_until_it_is_acknowledged() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    let b = server.server_nid("b.example").await;
    let outbox = || async {
        server
            .store
            .read(move |tx| tx.to_device_outbox(b, Position::START, tx.position()?, 9))
            .await
            .unwrap()
    };
    let message = messages([
        to("@bob:b.example", "*", "to bob"),
        to("@carol:b.example", "PHONE", "to carol"),
        to("@dave:c.example", "*", "to dave"),
    ]);
    send(&server, &alice, "txn", message).await;
    let waiting = outbox().await;
    assert_eq!(waiting.edus.len(), 1);
    let edu = &waiting.edus[0];
    assert_eq!((&edu.sender, edu.messages.len()), (&alice.user, 2));
    assert_eq!(edu.ev_type, "m.test".into());
    let last = waiting.last.unwrap();
    server
        .write(move |tx| tx.acknowledge_to_device_outbox(b, last))
        .await;
    assert!(outbox().await.edus.is_empty());
}

#[tokio::test]
async fn what_other_servers_send_is_delivered_once() {
    let server = Server::new("a.example", MemoryNetwork::new());
    let alice = server.device("@alice:a.example", "PHONE").await;
    let origin = ServerName::parse("b.example").unwrap();
    let edu = |sender: &str| {
        let mut edu = DirectDeviceContent::new(user_id(sender), "m.test".into(), "id".into());
        edu.messages = messages([
            to("@alice:a.example", "*", "hello"),
            to("@eve:c.example", "*", "not for us"),
        ]);
        edu
    };
    let receive = |sender: &str| {
        server
            .encryption
            .receive_direct_to_device(&origin, edu(sender))
    };
    receive("@bob:b.example").await.unwrap();
    receive("@bob:b.example").await.unwrap();
    assert!(matches!(
        receive("@alice:a.example").await,
        Err(Error::ForeignUser { .. })
    ));
    assert_eq!(
        waiting(&server, &alice, Position::START, 9).await.0,
        ["hello"]
    );

    // Ids are forgotten after a month, however many there are.
    let claim_many = async || {
        let origin = origin.clone();
        let claims = server.write(move |tx| {
            let server = tx.server_nid_or_insert(&origin)?;
            let ids = (0..2_500).map(|number| format!("m{number}").into());
            ids.map(|id: ruma::OwnedTransactionId| tx.claim_received_to_device(server, &id))
                .collect::<luxchat_store::Result<Vec<bool>>>()
        });
        claims.await
    };
    assert!(claim_many().await.into_iter().all(|is_new| is_new));
    server.clock.advance(Duration::from_hours(31 * 24));
    server.encryption.maintain().await.unwrap();
    assert!(claim_many().await.into_iter().all(|is_new| is_new));
    receive("@bob:b.example").await.unwrap();
    assert_eq!(
        waiting(&server, &alice, Position::START, 9).await.0.len(),
        2
    );
}

#[tokio::test]
async fn queues_that_nobody_empties_lose_the_oldest() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    let bob = server.device("@bob:a.example", "TABLET").await;
    for number in 0..5 {
        let body = number.to_string();
        let message = messages([
            to("@alice:a.example", "PHONE", &body),
            to("@bob:a.example", "TABLET", &body),
            to("@carol:b.example", "*", &body),
        ]);
        send(&server, &alice, &body, message).await;
    }
    assert_eq!(acknowledge(&server, &alice, Position(1)).await, 0);
    let dropped = server
        .write(|tx| {
            Ok((
                tx.limit_to_device_inboxes(3)?,
                tx.limit_to_device_outboxes(4)?,
            ))
        })
        .await;
    assert_eq!(dropped, (4, 1));
    for device in [&alice, &bob] {
        let (bodies, _) = waiting(&server, device, Position::START, 9).await;
        assert_eq!(bodies, ["2", "3", "4"]);
    }
}
