use luxchat_store::{DeviceListChanges, DeviceListUpdates, Position, Topic};
use ruma::{
    UInt,
    api::federation::transactions::edu::{DeviceListUpdateContent, Edu},
};

use super::fixture::{Identity, Server, user_id};

const ALICE: &str = "@alice:a.example";
const BOB: &str = "@bob:a.example";
const CAROL: &str = "@carol:b.example";

async fn changes(server: &Server, user: &str, since: Position) -> DeviceListChanges {
    let now = server.position().await;
    let mut changes = server
        .encryption
        .key_changes(&user_id(user), since, now)
        .await
        .unwrap();
    changes.changed.sort();
    changes.left.sort();
    changes
}

fn expect(changed: &[&str], left: &[&str]) -> DeviceListChanges {
    let owned = |users: &[&str]| users.iter().map(|user| user_id(user)).collect();
    DeviceListChanges {
        changed: owned(changed),
        left: owned(left),
    }
}

async fn outgoing(server: &Server, after: Position, limit: u32) -> DeviceListUpdates {
    let b = server.server_nid("b.example").await;
    server
        .store
        .read(move |tx| tx.outgoing_device_list_updates(b, after, tx.position()?, limit))
        .await
        .unwrap()
}

fn device_updates(updates: &DeviceListUpdates) -> Vec<&DeviceListUpdateContent> {
    let updates = updates.edus.iter().filter_map(|edu| match edu {
        Edu::DeviceListUpdate(update) => Some(update),
        _ => None,
    });
    updates.collect()
}

#[tokio::test]
async fn those_who_share_a_room_are_told_of_new_devices() {
    let server = Server::alone();
    server.device(ALICE, "PHONE").await;
    server.device(BOB, "PHONE").await;
    server.device("@stranger:a.example", "PHONE").await;
    server.join("room", ALICE).await;
    server.join("room", BOB).await;
    let since = server.position().await;
    assert_eq!(changes(&server, ALICE, since).await, expect(&[], &[]));

    let room = server
        .write(|tx| {
            Ok(tx
                .room_by_id(ruma::room_id!("!room:a.example"))?
                .unwrap()
                .nid)
        })
        .await;
    let wakes = server.store.listen([Topic::Room(room)]);
    server.device(BOB, "TABLET").await;
    server.device("@stranger:a.example", "TABLET").await;
    wakes.changed().await;
    assert_eq!(changes(&server, ALICE, since).await, expect(&[BOB], &[]));
    // One's own devices count, too.
    assert_eq!(changes(&server, BOB, since).await, expect(&[BOB], &[]));
    let now = server.position().await;
    assert_eq!(changes(&server, ALICE, now).await, expect(&[], &[]));
}

#[tokio::test]
async fn who_comes_is_changed_and_who_goes_has_left() {
    let server = Server::alone();
    server.device(ALICE, "PHONE").await;
    for room in ["one", "two"] {
        server.join(room, ALICE).await;
    }
    let start = server.position().await;
    server.member("one", CAROL, "invite").await;
    assert_eq!(changes(&server, ALICE, start).await, expect(&[], &[]));
    server.join("one", CAROL).await;
    server.join("two", CAROL).await;
    assert_eq!(changes(&server, ALICE, start).await, expect(&[CAROL], &[]));

    let both = server.position().await;
    // A changed profile is no coming.
    server.join("one", CAROL).await;
    assert_eq!(changes(&server, ALICE, both).await, expect(&[], &[]));
    server.member("one", CAROL, "leave").await;
    assert_eq!(changes(&server, ALICE, both).await, expect(&[], &[]));
    server.member("two", CAROL, "ban").await;
    assert_eq!(changes(&server, ALICE, both).await, expect(&[], &[CAROL]));
    // Who came and went in between was never there.
    assert_eq!(changes(&server, ALICE, start).await, expect(&[], &[]));
    // Who went and came back may have changed their keys with nobody here being told.
    server.join("one", CAROL).await;
    assert_eq!(changes(&server, ALICE, both).await, expect(&[CAROL], &[]));
}

#[tokio::test]
async fn joining_a_room_brings_its_users_and_leaving_takes_them() {
    let server = Server::alone();
    server.device(ALICE, "PHONE").await;
    for user in [BOB, CAROL] {
        server.join("room", user).await;
    }
    server.join("other", BOB).await;
    server.join("other", ALICE).await;
    let before = server.position().await;
    server.join("room", ALICE).await;
    assert_eq!(
        changes(&server, ALICE, before).await,
        expect(&[ALICE, BOB, CAROL], &[])
    );
    let inside = server.position().await;
    server.member("room", ALICE, "leave").await;
    assert_eq!(changes(&server, ALICE, inside).await, expect(&[], &[CAROL]));
}

#[tokio::test]
async fn many_moves_are_found_as_well_as_few() {
    let server = Server::alone();
    server.device(ALICE, "PHONE").await;
    server.join("room", ALICE).await;
    let since = server.position().await;
    let crowd: Vec<_> = (0..1_010)
        .map(|number| format!("@user{number}:b.example"))
        .collect();
    server.members("elsewhere", &crowd, "join").await;
    server.join("room", CAROL).await;
    assert_eq!(changes(&server, ALICE, since).await, expect(&[CAROL], &[]));
}

#[tokio::test]
async fn servers_that_share_a_room_are_told_in_an_unbroken_sequence() {
    let server = Server::alone();
    server.join("room", ALICE).await;
    server.join("room", CAROL).await;
    let start = server.position().await;
    let b = server.server_nid("b.example").await;
    let wakes = server.store.listen([Topic::Destination(b)]);
    let phone = server.device(ALICE, "PHONE").await;
    wakes.changed().await;
    server.device(ALICE, "TABLET").await;
    server.device(BOB, "PHONE").await;
    server.publish(&Identity::new(&user_id(ALICE))).await;
    let (nid, device) = (server.nid(&user_id(ALICE)).await, phone.id.clone());
    server
        .write(move |tx| {
            tx.delete_device(nid, &device)?;
            tx.delete_device_encryption(nid, &device)
        })
        .await;

    let updates = outgoing(&server, start, 100).await;
    assert_eq!(updates.up_to, server.position().await);
    assert_eq!(updates.edus.len(), 4);
    assert!(matches!(
        &updates.edus[2],
        Edu::SigningKeyUpdate(update)
            if update.master_key.is_some() && update.self_signing_key.is_some()
    ));
    let devices = device_updates(&updates);
    assert!(devices.iter().all(|update| update.user_id == ALICE));
    assert_eq!(devices[0].device_id, "PHONE");
    assert_eq!(devices[0].prev_id, [UInt::MIN]);
    assert_eq!(devices[1].prev_id, [devices[0].stream_id]);
    assert_eq!(devices[1].deleted, Some(false));
    assert_eq!(devices[2].prev_id, [devices[1].stream_id]);
    assert_eq!(devices[2].deleted, Some(true));
    let list = server
        .encryption
        .device_list(&user_id(ALICE))
        .await
        .unwrap();
    assert_eq!(list.stream_id, devices[2].stream_id);
    assert_eq!(list.devices.len(), 1);

    // The same in parts, each following on the one before.
    let mut after = start;
    let mut parts = Vec::new();
    while after < updates.up_to {
        let part = outgoing(&server, after, 1).await;
        after = part.up_to;
        parts.extend(part.edus);
    }
    let written = |edus: &[Edu]| serde_json::to_value(edus).unwrap();
    assert_eq!(written(&parts), written(&updates.edus));
}

#[tokio::test]
async fn a_server_that_must_be_told_from_now_on_is_told_to_ask() {
    let server = Server::alone();
    let phone = server.device(ALICE, "PHONE").await;
    server.join("room", CAROL).await;
    let before = server.position().await;
    server.join("room", ALICE).await;
    let updates = outgoing(&server, before, 100).await;
    let [update] = device_updates(&updates)[..] else {
        panic!("one update: {updates:?}");
    };
    assert_eq!(
        (&update.user_id, &update.device_id),
        (&phone.user, &phone.id)
    );
    assert_eq!((update.deleted, update.prev_id.len()), (Some(false), 0));
    let list = server.encryption.device_list(&phone.user).await.unwrap();
    assert_eq!(update.stream_id, list.stream_id);

    // Neither another room nor a changed profile is news.
    let told = server.position().await;
    server.join("other", CAROL).await;
    server.join("other", ALICE).await;
    server.join("room", ALICE).await;
    assert!(outgoing(&server, told, 100).await.edus.is_empty());
}

#[tokio::test]
async fn servers_without_a_common_room_are_told_nothing() {
    let server = Server::alone();
    server.join("room", ALICE).await;
    server.join("room", CAROL).await;
    server.member("room", CAROL, "leave").await;
    server.device(ALICE, "PHONE").await;
    let updates = outgoing(&server, Position::START, 100).await;
    assert!(updates.edus.is_empty());
    assert_eq!(updates.up_to, server.position().await);
}

#[tokio::test]
async fn a_server_that_missed_too_much_is_told_of_a_gap() {
    let server = Server::alone();
    server.join("room", ALICE).await;
    server.join("room", CAROL).await;
    let phone = server.device(ALICE, "PHONE").await;
    let seen = server.position().await;
    let nid = server.nid(&user_id(ALICE)).await;
    for _ in 0..150 {
        let device = phone.id.clone();
        server
            .write(move |tx| tx.device_changed(nid, &device))
            .await;
    }
    let updates = outgoing(&server, seen, 1_000).await;
    assert_eq!(updates.edus.len(), 100);
    assert_eq!(device_updates(&updates)[0].prev_id, []);
}
