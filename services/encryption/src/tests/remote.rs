//! Two servers: what one asks of the other, what it keeps, and when it asks again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, extract::State};
use luxchat_federation::MemoryNetwork;
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_store::{CrossSigningUsage, Position};
use ruma::{
    OneTimeKeyAlgorithm, ServerName, UserId,
    api::federation::{
        device::get_devices::v1::{self as get_devices, UserDevice},
        keys::{claim_keys::v1 as claim_keys, get_keys::v1 as get_keys},
        transactions::edu::Edu,
    },
};

use super::fixture::{Device, Identity, Server, all_devices, key_value};
use crate::{Encryption, Error, UserKeys};

/// What a server is asked, counted.
#[derive(Clone)]
struct Peer {
    encryption: Encryption,
    queries: Arc<AtomicUsize>,
    lists: Arc<AtomicUsize>,
}

async fn serve_query(
    State(peer): State<Peer>,
    Matrix(request): Matrix<get_keys::Request>,
) -> Reply<get_keys::Response> {
    peer.queries.fetch_add(1, Ordering::Relaxed);
    let users = peer.encryption.serve_key_query(request.device_keys).await;
    let mut response = get_keys::Response::new(BTreeMap::new());
    for (user, keys) in users.unwrap() {
        if let Some(key) = keys.cross_signing.get(&CrossSigningUsage::Master) {
            response.master_keys.insert(user.clone(), key.key.clone());
        }
        response.device_keys.insert(user, keys.devices);
    }
    Reply(response)
}

async fn serve_list(
    State(peer): State<Peer>,
    Matrix(request): Matrix<get_devices::Request>,
) -> Reply<get_devices::Response> {
    peer.lists.fetch_add(1, Ordering::Relaxed);
    let list = peer.encryption.device_list(&request.user_id).await.unwrap();
    let mut response = get_devices::Response::new(request.user_id, list.stream_id);
    let devices = list.devices.into_iter();
    response.devices = devices
        .map(|(device, keys, name)| {
            let mut device = UserDevice::new(device, keys);
            device.device_display_name = name;
            device
        })
        .collect();
    Reply(response)
}

async fn serve_claim(
    State(peer): State<Peer>,
    Matrix(request): Matrix<claim_keys::Request>,
) -> Reply<claim_keys::Response> {
    let keys = peer.encryption.serve_claim(request.one_time_keys).await;
    Reply(claim_keys::Response::new(keys.unwrap()))
}

/// Alice on a.example; Bob on b.example, whom a.example asks.
struct Two {
    network: MemoryNetwork,
    a: Server,
    b: Server,
    peer: Peer,
    alice: Device,
    bob: Device,
    /// Up to where a.example was told what changed on b.example.
    told: Position,
}

impl Two {
    async fn new() -> Self {
        let network = MemoryNetwork::new();
        let (a, b) = (
            Server::new("a.example", network.clone()),
            Server::new("b.example", network.clone()),
        );
        let peer = Peer {
            encryption: b.encryption.clone(),
            queries: Arc::default(),
            lists: Arc::default(),
        };
        let router = Router::new()
            .endpoint::<get_keys::Request, _>(serve_query)
            .endpoint::<get_devices::Request, _>(serve_list)
            .endpoint::<claim_keys::Request, _>(serve_claim)
            .with_state(peer.clone());
        network.attach(ServerName::parse("b.example").unwrap(), router);
        let alice = a.device("@alice:a.example", "PHONE").await;
        let bob = b.device("@bob:b.example", "PHONE").await;
        let told = b.position().await;
        Self {
            network,
            a,
            b,
            peer,
            alice,
            bob,
            told,
        }
    }

    async fn share_a_room(&mut self) {
        for server in [&self.a, &self.b] {
            server.join("room", "@alice:a.example").await;
            server.join("room", "@bob:b.example").await;
        }
        self.told = self.b.position().await;
    }

    /// How often b.example was asked for keys, and for device lists.
    fn asked(&self) -> (usize, usize) {
        let peer = &self.peer;
        (
            peer.queries.load(Ordering::Relaxed),
            peer.lists.load(Ordering::Relaxed),
        )
    }

    async fn bobs_keys(&self) -> UserKeys {
        let queried = self
            .a
            .encryption
            .query_keys(&self.alice.user, all_devices(&[&self.bob.user]), None)
            .await
            .unwrap();
        assert!(queried.failures.is_empty());
        queried.users[&self.bob.user].clone()
    }

    async fn bobs_devices(&self) -> Vec<String> {
        let keys = self.bobs_keys().await;
        keys.devices.keys().map(ToString::to_string).collect()
    }

    /// Brings what changed on b.example to a.example, but for the first `lost` of it.
    async fn tell(&mut self, lost: usize) {
        let a = self.b.server_nid("a.example").await;
        let after = self.told;
        let updates = self
            .b
            .store
            .read(move |tx| tx.outgoing_device_list_updates(a, after, tx.position()?, 100))
            .await
            .unwrap();
        self.told = updates.up_to;
        let origin = ServerName::parse("b.example").unwrap();
        let encryption = &self.a.encryption;
        for edu in updates.edus.into_iter().skip(lost) {
            match edu {
                Edu::DeviceListUpdate(update) => {
                    encryption.receive_device_list_update(&origin, update).await
                }
                Edu::SigningKeyUpdate(update) => {
                    encryption.receive_signing_key_update(&origin, update).await
                }
                other => panic!("no device list update: {other:?}"),
            }
            .unwrap();
        }
    }
}

#[tokio::test]
async fn keys_of_strangers_are_asked_for_each_time() {
    let two = Two::new().await;
    for times in 1..=2 {
        assert_eq!(two.bobs_devices().await, ["PHONE"]);
        assert_eq!(two.asked(), (times, 0));
    }
}

#[tokio::test]
async fn keys_of_those_who_share_a_room_are_asked_for_once_and_kept_up_to_date() {
    let mut two = Two::new().await;
    two.share_a_room().await;
    assert_eq!(two.bobs_devices().await, ["PHONE"]);
    assert_eq!(two.bobs_devices().await, ["PHONE"]);
    assert_eq!(two.asked(), (1, 0));

    let before = two.a.position().await;
    two.b.device("@bob:b.example", "TABLET").await;
    two.b.publish(&Identity::new(&two.bob.user)).await;
    two.tell(0).await;
    let now = two.a.position().await;
    let changes = two.a.encryption.key_changes(&two.alice.user, before, now);
    assert_eq!(changes.await.unwrap().changed, [two.bob.user.clone()]);
    let keys = two.bobs_keys().await;
    assert_eq!(keys.devices.len(), 2);
    assert!(
        keys.cross_signing
            .contains_key(&CrossSigningUsage::SelfSigning)
    );
    assert_eq!(two.asked(), (1, 0));
}

#[tokio::test]
async fn who_came_is_announced_once_and_their_changes_each_time() {
    let mut two = Two::new().await;
    let before = two.told;
    two.share_a_room().await;
    let bob = two.bob.user.clone();
    let changed_since = async |two: &Two, before| {
        let now = two.a.position().await;
        let changes = two.a.encryption.key_changes(&two.alice.user, before, now);
        changes.await.unwrap().changed
    };
    let joined = two.a.position().await;
    // What b.example sends since bob came to a room of a.example's.
    two.told = before;
    two.tell(0).await;
    assert!(changed_since(&two, joined).await.is_empty());

    // The same while an answer is under way, which may be older.
    two.told = before;
    let question = two.a.encryption.questions().ask(std::slice::from_ref(&bob));
    two.tell(0).await;
    drop(question);
    assert_eq!(
        changed_since(&two, joined).await,
        std::slice::from_ref(&bob)
    );

    let told = two.a.position().await;
    two.b.device("@bob:b.example", "TABLET").await;
    two.tell(0).await;
    assert_eq!(changed_since(&two, told).await, [bob]);
}

#[tokio::test]
async fn many_who_ask_at_once_make_one_question() {
    let mut two = Two::new().await;
    two.share_a_room().await;
    let asking: Vec<_> = (0..10)
        .map(|_| {
            let encryption = two.a.encryption.clone();
            let (alice, bob) = (two.alice.user.clone(), two.bob.user.clone());
            tokio::spawn(async move {
                let queried = encryption
                    .query_keys(&alice, all_devices(&[&bob]), None)
                    .await
                    .unwrap();
                queried.users[&bob].devices.len()
            })
        })
        .collect();
    for answer in asking {
        assert_eq!(answer.await.unwrap(), 1);
    }
    assert_eq!(two.asked(), (1, 0));
}

#[tokio::test]
async fn a_missed_update_has_the_whole_list_asked_for() {
    let mut two = Two::new().await;
    two.share_a_room().await;
    two.b.device("@bob:b.example", "TABLET").await;
    two.bobs_keys().await;
    two.tell(0).await;
    assert_eq!(two.asked(), (1, 0));

    two.b.device("@bob:b.example", "LAPTOP").await;
    two.b.device("@bob:b.example", "WATCH").await;
    two.tell(1).await;
    assert_eq!(
        two.bobs_devices().await,
        ["LAPTOP", "PHONE", "TABLET", "WATCH"]
    );
    assert_eq!(two.asked(), (1, 1));
    // From there updates follow on again.
    two.b.device("@bob:b.example", "CAR").await;
    two.tell(0).await;
    assert_eq!(two.bobs_devices().await.len(), 5);
    assert_eq!(two.asked(), (1, 1));
}

#[tokio::test]
async fn who_was_away_is_asked_for_again() {
    let mut two = Two::new().await;
    two.share_a_room().await;
    two.bobs_keys().await;
    two.a.member("room", "@bob:b.example", "leave").await;
    two.b.device("@bob:b.example", "TABLET").await;
    two.a.join("room", "@bob:b.example").await;
    assert_eq!(two.bobs_devices().await, ["PHONE", "TABLET"]);
    assert_eq!(two.asked(), (2, 0));
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_is_named() {
    let mut two = Two::new().await;
    two.share_a_room().await;
    let b = ServerName::parse("b.example").unwrap();
    two.network.detach(&b);
    let users = all_devices(&[&two.bob.user, &two.alice.user]);
    let queried = two
        .a
        .encryption
        .query_keys(&two.alice.user, users, None)
        .await
        .unwrap();
    assert!(queried.failures.contains_key(&b));
    assert!(queried.users.contains_key(&two.alice.user));
    assert!(!queried.users.contains_key(&two.bob.user));
}

#[tokio::test]
async fn one_time_keys_are_claimed_across_servers() {
    let two = Two::new().await;
    two.b.upload_one_time_keys(&two.bob, &["only"]).await;
    let claim = || {
        let algorithm = OneTimeKeyAlgorithm::SignedCurve25519;
        let devices = BTreeMap::from([(two.bob.id.clone(), algorithm)]);
        let claims = BTreeMap::from([(two.bob.user.clone(), devices)]);
        two.a.encryption.claim_keys(claims, None)
    };
    let claimed = claim().await.unwrap();
    assert_eq!(claimed.keys[&two.bob.user][&two.bob.id].len(), 1);
    assert!(claim().await.unwrap().keys.is_empty());
    two.network.detach(&ServerName::parse("b.example").unwrap());
    assert_eq!(claim().await.unwrap().failures.len(), 1);
}

#[tokio::test]
async fn a_user_verifies_one_of_another_server() {
    let mut two = Two::new().await;
    two.share_a_room().await;
    let (alices, bobs) = (Identity::new(&two.alice.user), Identity::new(&two.bob.user));
    two.a.publish(&alices).await;
    two.b.publish(&bobs).await;
    let mut master = bobs.key("master", &bobs.master);
    let signing_key = alices.user_signing.public();
    let alice = &two.alice.user;
    alices.user_signing.sign(&mut master, alice, &signing_key);
    let signed = serde_json::json!({ &two.bob.user: { bobs.master.public(): master } });
    let failures = two
        .a
        .encryption
        .upload_signatures(alice, serde_json::from_value(signed).unwrap())
        .await
        .unwrap();
    assert!(failures.is_empty(), "{failures:?}");
    let keys = two.bobs_keys().await;
    let master = key_value(&keys.cross_signing[&CrossSigningUsage::Master].key);
    assert!(master["signatures"][alice.as_str()].is_object());
}

#[tokio::test]
async fn servers_speak_for_their_own_users_alone() {
    let mut two = Two::new().await;
    two.share_a_room().await;
    let origin = ServerName::parse("c.example").unwrap();
    let bob: &UserId = &two.bob.user;
    let update = ruma::api::federation::transactions::edu::DeviceListUpdateContent::new(
        bob.to_owned(),
        "EVIL".into(),
        1_u32.into(),
    );
    let outcome = two
        .a
        .encryption
        .receive_device_list_update(&origin, update)
        .await;
    assert!(matches!(outcome, Err(Error::ForeignUser { .. })));
}
