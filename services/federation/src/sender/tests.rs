//! The sender between a server with events and a peer that is up, down, or forgetful, without sockets.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::Path, routing::put};
use http::StatusCode;
use luxchat_store::{
    Config, EventStatus, NewEvent, Pdu, Position, Room, ServerNid, StateChange, Store, Visibility,
    WriteTx,
};
use ruma::{
    CanonicalJsonObject, EventId, OwnedEventId, RoomId, RoomVersionId, ServerName, UserId,
    api::federation::transactions::edu::{DirectDeviceContent, Edu, TypingContent},
    room_id,
    serde::Raw,
    server_name,
    signatures::Ed25519KeyPair,
    user_id,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Federation, MemoryNetwork};

/// The room that the peer shares from the start.
pub(super) const ROOM: &str = "!room:own.lu";

fn own() -> &'static ServerName {
    server_name!("own.lu")
}

pub(super) fn peer() -> &'static ServerName {
    server_name!("peer.lu")
}

/// What a peer got, as it keeps it: transactions by id, events by id.
#[derive(Debug, Default)]
pub(super) struct Received {
    transactions: Mutex<Vec<(String, Value)>>,
    /// Transactions still to be answered with an error, after they were worked in.
    forget: AtomicUsize,
    /// Whether every other transaction, from the first on, is answered with an error.
    pub(super) stumbles: AtomicBool,
    /// Transactions with nothing in them.
    greetings: AtomicUsize,
}

impl Received {
    fn router(self: &Arc<Self>) -> Router {
        let received = Arc::clone(self);
        let limit = axum::extract::DefaultBodyLimit::max(16 * 1024 * 1024);
        let send = move |Path(id): Path<String>, Json(body): Json<Value>| async move {
            let is_empty = |key: &str| body[key].as_array().is_none_or(Vec::is_empty);
            if is_empty("pdus") && is_empty("edus") {
                received.greetings.fetch_add(1, Ordering::SeqCst);
                return (StatusCode::OK, Json(json!({ "pdus": {} })));
            }
            let count = {
                let mut transactions = received.transactions.lock().unwrap();
                transactions.push((id, body));
                transactions.len()
            };
            if received.stumbles.load(Ordering::SeqCst) && count % 2 == 1 {
                return (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({})));
            }
            let forget = received
                .forget
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                });
            match forget {
                Ok(_) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({}))),
                Err(_) => (StatusCode::OK, Json(json!({ "pdus": {} }))),
            }
        };
        Router::new()
            .route("/_matrix/federation/v1/send/{id}", put(send))
            .layer(limit)
    }

    fn ids(&self) -> Vec<String> {
        let transactions = self.transactions.lock().unwrap();
        transactions.iter().map(|(id, _)| id.clone()).collect()
    }

    /// The bodies of the messages in the PDUs of each transaction.
    pub(super) fn messages(&self) -> Vec<Vec<u64>> {
        let of = |body: &Value| {
            let pdus = body["pdus"].as_array().unwrap();
            pdus.iter()
                .map(|pdu| pdu["content"]["body"].as_u64().unwrap())
                .collect()
        };
        let transactions = self.transactions.lock().unwrap();
        transactions.iter().map(|(_, body)| of(body)).collect()
    }

    fn edus(&self) -> Vec<Value> {
        let transactions = self.transactions.lock().unwrap();
        transactions
            .iter()
            .flat_map(|(_, body)| body["edus"].as_array().cloned().unwrap_or_default())
            .collect()
    }
}

pub(super) struct Fixture {
    folder: TempDir,
    network: MemoryNetwork,
    pub(super) received: Arc<Received>,
    next_event: AtomicUsize,
}

/// A run of the server between two starts.
pub(super) struct Run {
    pub(super) store: Store,
    pub(super) federation: Federation,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Fixture {
    /// A store in which the peer shares a room.
    pub(super) async fn new() -> Self {
        let fixture = Self {
            folder: TempDir::new().unwrap(),
            network: MemoryNetwork::new(),
            received: Arc::default(),
            next_event: AtomicUsize::new(0),
        };
        let store = fixture.store();
        store
            .write(|tx| join(tx, ROOM, user_id!("@theirs:peer.lu")))
            .await
            .unwrap();
        fixture
    }

    pub(super) fn store(&self) -> Store {
        let path = self.folder.path().join("store.db");
        Store::open(Config::new(path, own().to_owned())).unwrap()
    }

    pub(super) fn peer_up(&self) {
        self.network
            .attach(peer().to_owned(), self.received.router());
    }

    pub(super) fn start(&self) -> Run {
        let store = self.store();
        let key = Ed25519KeyPair::from_der(&Ed25519KeyPair::generate(), "1".to_owned()).unwrap();
        let network = self.network.clone();
        let federation = Federation::in_memory(store.clone(), key, network).unwrap();
        let stop = CancellationToken::new();
        let task = federation.start(stop.clone());
        Run {
            store,
            federation,
            stop,
            task,
        }
    }

    /// Commits events of local users, numbered from the last on.
    pub(super) async fn send_messages(&self, store: &Store, count: usize) {
        self.send_messages_to(ROOM, store, count).await;
    }

    pub(super) async fn send_messages_to(&self, room: &'static str, store: &Store, count: usize) {
        let first = self.next_event.fetch_add(count, Ordering::SeqCst);
        store
            .write(move |tx| (first..first + count).try_for_each(|body| message(tx, room, body)))
            .await
            .unwrap();
    }
}

impl Run {
    pub(super) async fn crash(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn pdu(event_id: OwnedEventId, event: Value) -> Pdu {
    let object: CanonicalJsonObject = serde_json::from_value(event).unwrap();
    Pdu::from_object(event_id, &object, EventStatus::Accepted).unwrap()
}

fn event_id(name: &str) -> OwnedEventId {
    EventId::parse(format!("${name:0>43}")).unwrap()
}

fn room(tx: &mut WriteTx<'_>, room: &str) -> luxchat_store::Result<Room> {
    let room_id = RoomId::parse(room).unwrap();
    tx.room_or_insert(&room_id, &RoomVersionId::V11)
}

fn insert(
    tx: &mut WriteTx<'_>,
    room: &mut Room,
    pdu: &Pdu,
) -> luxchat_store::Result<luxchat_store::Inserted> {
    let at = tx.change_current_state(room, &[], Position::START)?;
    let event = NewEvent {
        room: room.nid,
        pdu,
        status: EventStatus::Accepted,
        visibility: Visibility::Newest,
        before: Some(at),
        after: Some(at),
        is_own: true,
        outgoing: true,
    };
    Ok(tx.insert_event(event)?.unwrap())
}

pub(super) fn join(
    tx: &mut WriteTx<'_>,
    room_id: &str,
    user: &UserId,
) -> luxchat_store::Result<()> {
    let mut room = room(tx, room_id)?;
    let event = json!({
        "type": "m.room.member", "state_key": user, "sender": user, "room_id": room_id,
        "content": { "membership": "join" }, "origin_server_ts": 1, "depth": 1,
        "prev_events": [], "auth_events": [],
    });
    let inserted = insert(tx, &mut room, &pdu(event_id("join"), event))?;
    let change = StateChange {
        key: inserted.state_key.unwrap(),
        event: Some(inserted.nid),
    };
    tx.change_current_state(&mut room, &[change], inserted.seq)?;
    Ok(())
}

fn message(tx: &mut WriteTx<'_>, room_id: &str, body: usize) -> luxchat_store::Result<()> {
    let mut room = room(tx, room_id)?;
    let event = json!({
        "type": "m.room.message", "sender": "@ours:own.lu", "room_id": room_id,
        "content": { "body": body }, "origin_server_ts": 1, "depth": 2,
        "prev_events": [], "auth_events": [],
    });
    let inserted = insert(tx, &mut room, &pdu(event_id(&body.to_string()), event))?;
    tx.announce_destinations(room.nid, inserted.seq)
}

fn peer_nid(tx: &luxchat_store::ReadTx<'_>) -> luxchat_store::Result<ServerNid> {
    Ok(tx.server_nid(peer())?.unwrap())
}

/// Waits for something that the sender does on its own, within a generous time.
pub(super) async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .expect("what was waited for did not happen");
}

pub(super) async fn failures(store: &Store) -> u32 {
    let known = store.read(|tx| tx.destination(peer_nid(tx)?)).await;
    let known: Result<_, luxchat_store::Error> = known;
    known.unwrap().failures
}

/// To-device messages that wait for the peer.
async fn waiting(store: &Store) -> usize {
    let outbox = store.read(|tx| {
        let (start, end) = (Position::START, Position(i64::MAX));
        tx.to_device_outbox(peer_nid(tx)?, start, end, 10)
    });
    let outbox: Result<_, luxchat_store::Error> = outbox.await;
    outbox.unwrap().edus.len()
}

#[tokio::test]
async fn events_arrive_in_order_and_in_batches() {
    let fixture = Fixture::new().await;
    fixture.peer_up();
    let run = fixture.start();
    fixture.send_messages(&run.store, 120).await;
    let received = &fixture.received;
    eventually(async || received.messages().concat().len() >= 120).await;
    assert_eq!(received.messages().concat(), (0..120).collect::<Vec<u64>>());
    assert!(received.messages().iter().all(|batch| batch.len() <= 50));
    run.crash().await;
}

#[tokio::test]
async fn a_peer_catches_up_after_an_outage_as_soon_as_it_speaks() {
    let fixture = Fixture::new().await;
    let run = fixture.start();
    fixture.send_messages(&run.store, 3).await;
    eventually(async || failures(&run.store).await > 0).await;
    fixture.send_messages(&run.store, 60).await;

    fixture.peer_up();
    run.federation.wake(peer());
    let received = &fixture.received;
    eventually(async || received.messages().concat().len() >= 63).await;
    assert_eq!(received.messages().concat(), (0..63).collect::<Vec<u64>>());
    eventually(async || failures(&run.store).await == 0).await;
    run.crash().await;
}

#[tokio::test]
async fn a_restart_goes_on_where_the_peer_acknowledged() {
    let fixture = Fixture::new().await;
    fixture.peer_up();
    let run = fixture.start();
    fixture.send_messages(&run.store, 10).await;
    let received = Arc::clone(&fixture.received);
    eventually(async || received.messages().concat().len() >= 10).await;
    let cursor = async |store: &Store| {
        let known = store.read(|tx| tx.destination(peer_nid(tx)?)).await;
        let known: Result<_, luxchat_store::Error> = known;
        known.unwrap().cursors.pdus
    };
    let newest: Result<_, luxchat_store::Error> = run.store.read(|tx| tx.position()).await;
    let newest = newest.unwrap();
    eventually(async || cursor(&run.store).await == newest).await;
    run.crash().await;

    // Committed, announced to nobody, and the process gone.
    let store = fixture.store();
    fixture.send_messages(&store, 5).await;
    drop(store);

    let run = fixture.start();
    eventually(async || received.messages().concat().len() >= 15).await;
    assert_eq!(received.messages().concat(), (0..15).collect::<Vec<u64>>());
    run.crash().await;
}

#[tokio::test]
async fn a_restart_greets_the_peer_and_tries_it_at_once() {
    let fixture = Fixture::new().await;
    let run = fixture.start();
    fixture.send_messages(&run.store, 2).await;
    eventually(async || failures(&run.store).await > 0).await;
    run.crash().await;
    let store = fixture.store();
    let far = store.clock().now_ms() + 3_600_000;
    let noted = store.write(move |tx| tx.set_destination_failures(peer_nid(tx)?, 12, far));
    let noted: Result<(), luxchat_store::Error> = noted.await;
    noted.unwrap();
    drop(store);

    fixture.peer_up();
    let run = fixture.start();
    let received = &fixture.received;
    eventually(async || received.messages().concat().len() >= 2).await;
    assert_eq!(received.greetings.load(Ordering::SeqCst), 1);
    run.crash().await;
}

#[tokio::test]
async fn failures_count_no_longer_once_a_transaction_is_answered() {
    let fixture = Fixture::new().await;
    fixture.received.stumbles.store(true, Ordering::SeqCst);
    fixture.peer_up();
    let store = fixture.store();
    fixture.send_messages(&store, 120).await;
    drop(store);
    let run = fixture.start();
    let received = &fixture.received;
    // Of three batches two are left when the third attempt fails.
    eventually(async || received.ids().len() >= 3).await;
    eventually(async || failures(&run.store).await > 0).await;
    assert_eq!(failures(&run.store).await, 1);
    run.crash().await;
}

#[tokio::test]
async fn an_answer_that_is_lost_repeats_the_same_transaction() {
    let fixture = Fixture::new().await;
    fixture.peer_up();
    fixture.received.forget.store(1, Ordering::SeqCst);
    let run = fixture.start();
    fixture.send_messages(&run.store, 7).await;
    let received = Arc::clone(&fixture.received);
    eventually(async || !received.ids().is_empty()).await;
    run.crash().await;

    let run = fixture.start();
    run.federation.wake(peer());
    eventually(async || received.ids().len() >= 2).await;
    let ids = received.ids();
    assert_eq!(ids[0], ids[1], "{ids:?}");
    let messages = received.messages();
    assert_eq!(messages[0], messages[1]);
    run.crash().await;
}

#[tokio::test]
async fn to_device_messages_stay_until_they_are_acknowledged() {
    let fixture = Fixture::new().await;
    let run = fixture.start();
    let content = DirectDeviceContent::new(
        user_id!("@ours:own.lu").to_owned(),
        "m.test".into(),
        "message".into(),
    );
    run.store
        .write(move |tx| {
            let server = peer_nid(tx)?;
            tx.queue_to_device(server, &content)
        })
        .await
        .unwrap();
    eventually(async || failures(&run.store).await > 0).await;
    assert_eq!(waiting(&run.store).await, 1);

    fixture.peer_up();
    run.federation.wake(peer());
    eventually(async || waiting(&run.store).await == 0).await;
    let edus = fixture.received.edus();
    assert_eq!(edus.len(), 1);
    assert_eq!(edus[0]["edu_type"], "m.direct_to_device");
    assert_eq!(edus[0]["content"]["message_id"], "message");
    run.crash().await;
}

/// A to-device message as a client wrote it.
async fn queue(store: &Store, id: &str, content: Value) {
    let mut edu = DirectDeviceContent::new(
        user_id!("@ours:own.lu").to_owned(),
        "m.test".into(),
        id.into(),
    );
    let content = Raw::from_json(serde_json::value::to_raw_value(&content).unwrap());
    let all = ruma::to_device::DeviceIdOrAllDevices::AllDevices;
    let devices = std::collections::BTreeMap::from([(all, content)]);
    let theirs = user_id!("@theirs:peer.lu").to_owned();
    edu.messages.insert(theirs, devices);
    store
        .write(move |tx| {
            let server = peer_nid(tx)?;
            tx.queue_to_device(server, &edu)
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_message_that_cannot_be_signed_does_not_stop_the_others() {
    let fixture = Fixture::new().await;
    fixture.peer_up();
    let run = fixture.start();
    queue(&run.store, "bad", json!({ "half": 0.5 })).await;
    queue(&run.store, "good", json!({ "whole": 1 })).await;
    let received = &fixture.received;
    eventually(async || !received.edus().is_empty()).await;
    eventually(async || waiting(&run.store).await == 0).await;
    let ids: Vec<Value> = received
        .edus()
        .iter()
        .map(|edu| edu["content"]["message_id"].clone())
        .collect();
    assert_eq!(ids, ["good"]);
    queue(&run.store, "bad again", json!({ "half": 0.5 })).await;
    eventually(async || waiting(&run.store).await == 0).await;
    run.crash().await;
}

#[tokio::test]
async fn large_messages_go_in_several_transactions() {
    let fixture = Fixture::new().await;
    let run = fixture.start();
    let large = "x".repeat(900 * 1024);
    for id in 0..6 {
        queue(&run.store, &id.to_string(), json!({ "large": large })).await;
    }
    fixture.peer_up();
    run.federation.wake(peer());
    let received = &fixture.received;
    eventually(async || received.edus().len() >= 6).await;
    eventually(async || waiting(&run.store).await == 0).await;
    let counts: Vec<usize> = {
        let transactions = received.transactions.lock().unwrap();
        let edus = |body: &Value| body["edus"].as_array().map_or(0, Vec::len);
        transactions.iter().map(|(_, body)| edus(body)).collect()
    };
    assert!(counts.iter().all(|count| *count <= 4), "{counts:?}");
    assert_eq!(received.edus().len(), 6);
    run.crash().await;
}

#[tokio::test]
async fn typing_is_dropped_while_the_peer_is_down() {
    let fixture = Fixture::new().await;
    let run = fixture.start();
    let typing = |room: &str| {
        let room = room.try_into().unwrap();
        Edu::Typing(TypingContent::new(
            room,
            user_id!("@ours:own.lu").to_owned(),
            true,
        ))
    };
    fixture.send_messages(&run.store, 1).await;
    eventually(async || failures(&run.store).await > 0).await;
    run.federation
        .send_edu([peer().to_owned()], &typing("!stale:own.lu"));
    fixture.peer_up();
    run.federation.wake(peer());
    eventually(async || failures(&run.store).await == 0).await;
    run.federation
        .send_edu([peer().to_owned()], &typing("!fresh:own.lu"));
    let received = &fixture.received;
    eventually(async || !received.edus().is_empty()).await;
    let rooms: Vec<Value> = received
        .edus()
        .iter()
        .map(|edu| edu["content"]["room_id"].clone())
        .collect();
    assert_eq!(rooms, ["!fresh:own.lu"]);
    run.crash().await;
}

#[tokio::test]
async fn the_first_thing_a_peer_gets_may_be_typing() {
    let fixture = Fixture::new().await;
    let late = server_name!("late.lu");
    fixture
        .network
        .attach(late.to_owned(), fixture.received.router());
    let run = fixture.start();
    let known: Result<_, luxchat_store::Error> = run
        .store
        .write(|tx| tx.user_nid_or_insert(user_id!("@new:late.lu")))
        .await;
    known.unwrap();
    let typing = TypingContent::new(
        room_id!("!room:own.lu").to_owned(),
        user_id!("@ours:own.lu").to_owned(),
        true,
    );
    let servers = [server_name!("unheard.lu").to_owned(), late.to_owned()];
    run.federation.send_edu(servers, &Edu::Typing(typing));
    let received = &fixture.received;
    eventually(async || !received.edus().is_empty()).await;
    run.crash().await;
}
