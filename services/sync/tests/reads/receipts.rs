//! Who has read what, and what that leaves unread.

use luxchat_store::{Position, ServerNid};
use luxchat_sync::{Error, ReceiptKind};
use ruma::{
    OwnedEventId, UserId, api::federation::transactions::edu::ReceiptContent,
    events::receipt::ReceiptThread, server_name,
};
use serde_json::{Value, json};

use crate::world::*;

async fn read(world: &World, user: &UserId, event_id: &OwnedEventId, kind: ReceiptKind) {
    let thread = ReceiptThread::Unthreaded;
    let set = world.receipts.set(user, the_room(), event_id, kind, thread);
    set.await.unwrap();
}

async fn unread(world: &World, user: &UserId) -> (u64, u64) {
    let response = world.initial(user).await;
    let counts = &joined(&response, the_room()).unread_notifications;
    (
        counts.notification_count.unwrap().into(),
        counts.highlight_count.unwrap().into(),
    )
}

#[tokio::test]
async fn reading_and_sending_leave_nothing_unread() {
    let world = World::with_room().await;
    world.message(the_room(), alice(), "before bob").await;
    world.member(the_room(), bob(), bob(), "join").await;
    assert_eq!(unread(&world, bob()).await, (0, 0));
    let first = world.message(the_room(), alice(), "one").await;
    let second = world.message(the_room(), alice(), "two").await;
    assert_eq!(unread(&world, bob()).await, (2, 0));
    assert_eq!(unread(&world, alice()).await, (0, 0));

    let since = token(&world.initial(bob()).await);
    read(&world, bob(), &first, ReceiptKind::Private).await;
    assert_eq!(unread(&world, bob()).await, (1, 0));
    assert!(
        world
            .since(bob(), since)
            .await
            .rooms
            .join
            .contains_key(the_room())
    );
    // A receipt for something older takes nothing back.
    read(&world, bob(), &second, ReceiptKind::Public).await;
    read(&world, bob(), &first, ReceiptKind::Public).await;
    assert_eq!(unread(&world, bob()).await, (0, 0));

    world.message(the_room(), alice(), "three").await;
    world.message(the_room(), bob(), "four").await;
    assert_eq!(unread(&world, bob()).await, (0, 0));
    assert_eq!(unread(&world, alice()).await, (1, 0));
}

#[tokio::test]
async fn a_change_of_name_reads_nothing() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    world.message(the_room(), alice(), "one").await;
    let renamed = json!({ "membership": "join", "displayname": "Bobby" });
    world
        .state(the_room(), bob(), "m.room.member", bob().as_str(), renamed)
        .await;
    assert_eq!(unread(&world, bob()).await, (1, 0));
}

#[tokio::test]
async fn mentions_are_highlights() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    let mention = |mentions: Value| json!({ "body": "you", "m.mentions": mentions });
    let one = world
        .event(
            the_room(),
            alice(),
            "m.room.message",
            mention(json!({ "user_ids": [bob(), alice(), eve()] })),
        )
        .await;
    world
        .event(
            the_room(),
            alice(),
            "m.room.message",
            mention(json!({ "room": true })),
        )
        .await;
    assert_eq!(unread(&world, bob()).await, (2, 2));
    // Bob has no power to speak to all.
    world
        .event(
            the_room(),
            bob(),
            "m.room.message",
            mention(json!({ "room": true })),
        )
        .await;
    assert_eq!(unread(&world, alice()).await, (1, 0));
    assert_eq!(unread(&world, bob()).await, (0, 0));
    // Nonsense is nobody's mention.
    world
        .event(the_room(), alice(), "m.room.message", mention(json!("all")))
        .await;
    assert_eq!(unread(&world, bob()).await, (1, 0));
    read(&world, bob(), &one, ReceiptKind::Private).await;
    assert_eq!(unread(&world, bob()).await, (1, 0));
}

#[tokio::test]
async fn private_receipts_stay_private() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    world.member(the_room(), eve(), eve(), "join").await;
    let event_id = world.message(the_room(), alice(), "one").await;
    let since = world.position().await;
    read(&world, bob(), &event_id, ReceiptKind::Private).await;
    assert!(world.since(alice(), since).await.rooms.is_empty());
    let own = world.since(bob(), since).await;
    let own = plain(&joined(&own, the_room()).ephemeral.events);
    let receipts = &own[0]["content"][event_id.as_str()];
    assert!(receipts["m.read.private"][bob().as_str()]["ts"].is_u64());

    let two = ServerNid(2);
    let outgoing = |world: &World| {
        let read =
            move |tx: &luxchat_store::ReadTx<'_>| tx.outgoing_receipts(two, Position::START, 10);
        let store = world.store.clone();
        async move { store.read(read).await.unwrap() }
    };
    assert!(outgoing(&world).await.is_empty());
    read(&world, bob(), &event_id, ReceiptKind::Public).await;
    let public = outgoing(&world).await;
    assert_eq!(public.len(), 1);
    assert_eq!(public[0].receipt.event_id, event_id);
    let response = world.since(alice(), since).await;
    let seen = plain(&joined(&response, the_room()).ephemeral.events);
    assert!(seen[0]["content"][event_id.as_str()]["m.read"][bob().as_str()]["ts"].is_u64());
    assert!(
        seen[0]["content"][event_id.as_str()]
            .get("m.read.private")
            .is_none()
    );
}

#[tokio::test]
async fn peers_speak_for_their_own_users_alone() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    world.member(the_room(), eve(), eve(), "join").await;
    let since = world.position().await;
    let receipts = json!({ (the_room()): { "m.read": {
        (bob()): { "data": { "ts": 5 }, "event_ids": ["$event5"] },
        (eve()): { "data": { "ts": 5 }, "event_ids": ["$unheard-of"] },
        "@mallory:two": { "data": { "ts": 5 }, "event_ids": ["$event5"] },
    } } });
    let content: ReceiptContent = serde_json::from_value(receipts).unwrap();
    world
        .receipts
        .receive(server_name!("two"), content)
        .await
        .unwrap();
    let response = world.since(alice(), since).await;
    let content = &plain(&joined(&response, the_room()).ephemeral.events)[0]["content"];
    assert_eq!(
        *content,
        json!({ "$unheard-of": { "m.read": { (eve()): { "ts": 5 } } } })
    );
}

#[tokio::test]
async fn receipts_are_for_members_and_their_events() {
    let world = World::with_room().await;
    let event_id = world.message(the_room(), alice(), "one").await;
    let set = |user, event_id| {
        let thread = ReceiptThread::Main;
        world
            .receipts
            .set(user, the_room(), event_id, ReceiptKind::Public, thread)
    };
    assert!(matches!(
        set(bob(), &event_id).await,
        Err(Error::Forbidden(_))
    ));
    let unknown: OwnedEventId = "$unknown".try_into().unwrap();
    assert!(matches!(
        set(alice(), &unknown).await,
        Err(Error::NotFound(_))
    ));
    let marker = world
        .receipts
        .set_fully_read(alice(), the_room(), &event_id);
    let since = world.position().await;
    marker.await.unwrap();
    let response = world.since(alice(), since).await;
    let data = plain(&joined(&response, the_room()).account_data.events);
    assert_eq!(data[0]["type"], "m.fully_read");
    assert_eq!(data[0]["content"]["event_id"], event_id.as_str());
}

#[tokio::test]
async fn threads_are_counted_apart() {
    let world = World::with_room().await;
    world.member(the_room(), bob(), bob(), "join").await;
    let root = world.message(the_room(), alice(), "root").await;
    let reply = async |mention: bool| {
        let relation = json!({ "rel_type": "m.thread", "event_id": root });
        let mut content = json!({ "body": "reply", "m.relates_to": relation });
        if mention {
            content["m.mentions"] = json!({ "user_ids": [bob()] });
        }
        world
            .event(the_room(), alice(), "m.room.message", content)
            .await
    };
    let first = reply(false).await;
    let second = reply(true).await;
    assert_eq!(unread(&world, bob()).await, (3, 1));

    let apart = async || {
        let filter = json!({ "room": { "timeline": { "unread_thread_notifications": true } } });
        let response = world.sync(bob(), filtered(filter)).await;
        let room = serde_json::to_value(joined(&response, the_room())).unwrap();
        let thread = &room["unread_thread_notifications"][root.as_str()];
        let counts = [&room["unread_notifications"], thread];
        counts.map(|counts| {
            let count = |key: &str| counts[key].as_u64().unwrap_or_default();
            (count("notification_count"), count("highlight_count"))
        })
    };
    assert_eq!(apart().await, [(1, 0), (2, 1)]);
    let read = async |event_id, thread| {
        let kind = ReceiptKind::Private;
        let set = world
            .receipts
            .set(bob(), the_room(), event_id, kind, thread);
        set.await.unwrap();
    };
    read(&first, ReceiptThread::Thread(root.clone())).await;
    assert_eq!(apart().await, [(1, 0), (1, 1)]);
    read(&root, ReceiptThread::Main).await;
    assert_eq!(apart().await, [(0, 0), (1, 1)]);
    read(&second, ReceiptThread::Thread(root.clone())).await;
    assert_eq!(apart().await, [(0, 0), (0, 0)]);
    assert_eq!(unread(&world, bob()).await, (0, 0));
}
