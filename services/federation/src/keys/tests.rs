//! Keys between servers of one process; "dir.lu" is the national directory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::Path, routing::get};
use luxchat_store::{Clock, ManualClock, Store};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerName, ServerName, UInt,
    api::federation::discovery::ServerSigningKeys,
    canonical_json::to_canonical_value,
    serde::{Base64, Raw},
    signatures::{Ed25519KeyPair, PublicKeyMap, PublicKeySet, verify_json},
};
use tempfile::TempDir;

use super::document;
use crate::{
    Error, Federation, Identity, MemoryNetwork,
    testing::{NOW_MS, Nation, active, now, revoked},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

struct Server {
    federation: Federation,
    clock: Arc<ManualClock>,
    _folder: TempDir,
}

fn server(name: &str, network: &MemoryNetwork) -> Server {
    let folder = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let name = ServerName::parse(name).unwrap();
    let mut config = luxchat_store::Config::new(folder.path().join("store.db"), name);
    config.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let store = Store::open(config).unwrap();
    let federation = Federation::in_memory(store, key(), network.clone()).unwrap();
    Server {
        federation,
        clock,
        _folder: folder,
    }
}

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_der(&Ed25519KeyPair::generate(), "1".to_owned()).unwrap()
}

fn name(server: &Server) -> OwnedServerName {
    server.federation.server_name().to_owned()
}

fn ms(ms: u64) -> MilliSecondsSinceUnixEpoch {
    MilliSecondsSinceUnixEpoch(UInt::new(ms).unwrap())
}

/// Serves what a server publishes about itself and vouches for, and counts how often it is asked.
fn routes(server: &Server) -> (Router, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (own, counter) = (server.federation.clone(), Arc::clone(&asked));
    let own = async move || {
        counter.fetch_add(1, Ordering::SeqCst);
        Json(own.keys().own_document().unwrap())
    };
    let (notary, counter) = (server.federation.clone(), Arc::clone(&asked));
    let vouch = async move |Json(query): Json<serde_json::Value>| {
        counter.fetch_add(1, Ordering::SeqCst);
        let mut documents = Vec::new();
        for server in query["server_keys"].as_object().unwrap().keys() {
            let server = ServerName::parse(server).unwrap();
            documents.extend(notary.keys().vouched(&server, ms(0)).await.unwrap());
        }
        Json(serde_json::json!({ "server_keys": documents }))
    };
    let router = Router::new()
        .route("/_matrix/key/v2/server", get(own))
        .route("/_matrix/key/v2/query", axum::routing::post(vouch))
        .route("/{*any}", get(async |Path(_): Path<String>| "?"));
    (router, asked)
}

async fn find(at: &Server, of: &Server, when: MilliSecondsSinceUnixEpoch) -> Result<Base64, Error> {
    let id = of.federation.identity().signing_key_id().clone();
    at.federation.keys().key(&name(of), &id, when).await
}

#[tokio::test]
async fn a_key_is_fetched_once_and_kept() {
    let network = MemoryNetwork::new();
    let (a, b) = (server("a.lu", &network), server("b.lu", &network));
    let (router, asked) = routes(&b);
    network.attach(name(&b), router);
    let (one, two) = tokio::join!(find(&a, &b, ms(NOW_MS)), find(&a, &b, ms(NOW_MS)));
    assert_eq!(one.unwrap(), b.federation.identity().public_key());
    assert_eq!(two.unwrap(), b.federation.identity().public_key());
    network.detach(&name(&b));
    find(&a, &b, ms(NOW_MS - DAY_MS)).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_key_is_not_good_for_events_after_its_validity() {
    let network = MemoryNetwork::new();
    let (a, b) = (server("a.lu", &network), server("b.lu", &network));
    network.attach(name(&b), routes(&b).0);
    find(&a, &b, ms(NOW_MS)).await.unwrap();
    let later = ms(NOW_MS + 2 * DAY_MS);
    let refused = find(&a, &b, later).await;
    assert!(matches!(refused, Err(Error::Signature(_))), "{refused:?}");
}

#[tokio::test]
async fn keys_that_are_not_to_be_had_are_not_asked_for_again_at_once() {
    let network = MemoryNetwork::new();
    let (a, b) = (server("a.lu", &network), server("b.lu", &network));
    find(&a, &b, ms(NOW_MS)).await.unwrap_err();
    let (router, asked) = routes(&b);
    network.attach(name(&b), router);
    let error = find(&a, &b, ms(NOW_MS)).await.unwrap_err();
    assert!(error.to_string().contains("a moment ago"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_directory_vouches_for_a_server_that_is_down() {
    let network = MemoryNetwork::new();
    let (a, b, directory) = (
        server("a.lu", &network),
        server("b.lu", &network),
        server("dir.lu", &network),
    );
    network.attach(name(&b), routes(&b).0);
    network.attach(name(&directory), routes(&directory).0);
    // The directory has asked before the server went down.
    find(&directory, &b, ms(NOW_MS)).await.unwrap();
    network.detach(&name(&b));
    let nation = Nation::new();
    let mut entry = nation.make_box("dir.lu").member(active());
    entry.role = luxchat_bundle::Role::Directory;
    entry.signing_keys.clear();
    let authorities = vec![nation.authority.certificate().clone()];
    a.federation.membership().update(luxchat_bundle::Bundle {
        members: luxchat_bundle::Members::new(now(), authorities, vec![entry]).unwrap(),
        ..nation.list(&[])
    });
    let found = find(&a, &b, ms(NOW_MS)).await.unwrap();
    assert_eq!(found, b.federation.identity().public_key());
}

#[tokio::test]
async fn nobody_is_asked_for_the_keys_of_who_may_not_federate() {
    let network = MemoryNetwork::new();
    let (a, b) = (server("a.lu", &network), server("b.lu", &network));
    let directory = server("dir.lu", &network);
    let ((own, asked), (vouching, notary)) = (routes(&b), routes(&directory));
    network.attach(name(&b), own);
    network.attach(name(&directory), vouching);
    let nation = Nation::new();
    let (out, mut entry) = (
        nation.make_box("b.lu"),
        nation.make_box("dir.lu").member(active()),
    );
    entry.role = luxchat_bundle::Role::Directory;
    let mut expelled = out.member(revoked());
    expelled.signing_keys.clear();
    let authorities = vec![nation.authority.certificate().clone()];
    let members = vec![entry, expelled];
    a.federation.membership().update(luxchat_bundle::Bundle {
        members: luxchat_bundle::Members::new(now(), authorities, members).unwrap(),
        ..nation.list(&[])
    });
    let error = find(&a, &b, ms(NOW_MS)).await.unwrap_err();
    assert!(error.to_string().contains("revoked"), "{error}");
    let questions = [&asked, &notary].map(|asked| asked.load(Ordering::SeqCst));
    assert_eq!(questions, [0, 0]);
}

#[tokio::test]
async fn the_members_list_alone_counts_for_servers_whose_keys_it_names() {
    let network = MemoryNetwork::new();
    let (a, b) = (server("a.lu", &network), server("b.lu", &network));
    network.attach(name(&b), routes(&b).0);
    let nation = Nation::new();
    let listed = nation.make_box("b.lu");
    let mut entry = listed.member(active());
    let retired = luxchat_bundle::OldSigningKey {
        key: listed.keys.signing_public_key(),
        expired_at: now(),
    };
    let retired_id: luxchat_bundle::SigningKeyId = "ed25519:retired".parse().unwrap();
    entry.old_signing_keys.insert(retired_id, retired);
    let authorities = vec![nation.authority.certificate().clone()];
    a.federation.membership().update(luxchat_bundle::Bundle {
        members: luxchat_bundle::Members::new(now(), authorities, vec![entry]).unwrap(),
        ..nation.list(&[])
    });
    // What the server publishes itself is not listed.
    find(&a, &b, ms(NOW_MS)).await.unwrap_err();
    let key = async |id: &str, at: u64| {
        let id = id.try_into().unwrap();
        a.federation.keys().key(&name(&b), id, ms(at)).await
    };
    let current = listed.keys.signing_key_id().to_string();
    let expected = Base64::new(listed.keys.signing_public_key().as_bytes().to_vec());
    assert_eq!(key(&current, NOW_MS).await.unwrap(), expected);
    key(&current, NOW_MS + 8 * DAY_MS).await.unwrap_err();
    key("ed25519:retired", NOW_MS - 1).await.unwrap();
    key("ed25519:retired", NOW_MS + 1).await.unwrap_err();

    // What it signed before it was expelled stays valid; nothing else does, whoever passes it on.
    let list = nation.list(&[(&listed, revoked())]);
    a.federation.membership().update(list);
    assert_eq!(key(&current, NOW_MS).await.unwrap(), expected);
    key(&current, NOW_MS + 1).await.unwrap_err();
}

#[tokio::test]
async fn a_document_is_good_for_a_day_and_signed() {
    let network = MemoryNetwork::new();
    let a = server("a.lu", &network);
    a.clock.advance(Duration::from_secs(5));
    let document = a.federation.keys().own_document().unwrap();
    let document: ServerSigningKeys = document.deserialize().unwrap();
    assert_eq!(
        u64::from(document.valid_until_ts.0),
        NOW_MS + 5_000 + DAY_MS
    );
    let object = to_canonical_value(&document).unwrap();
    let object = object.as_object().unwrap();
    verify_json(&a.federation.identity().public_key_map(), object).unwrap();
}

#[test]
fn documents_that_do_not_hold_are_refused() {
    let identity = Identity::new(ServerName::parse("b.lu").unwrap(), key()).unwrap();
    let membership = crate::Membership::open(None);
    let good = document::own(&identity, &membership, NOW_MS).unwrap();
    let server = identity.server_name();
    document::verify(server, &good, NOW_MS).unwrap();

    let other = ServerName::parse("c.lu").unwrap();
    document::verify(&other, &good, NOW_MS).unwrap_err();

    let change = |change: fn(&mut serde_json::Value)| {
        let mut value = serde_json::to_value(&good).unwrap();
        change(&mut value);
        Raw::from_json(serde_json::value::to_raw_value(&value).unwrap())
    };
    for bad in [
        change(|it| it["valid_until_ts"] = 4_000_000_000_000_u64.into()),
        change(|it| it["signatures"] = serde_json::json!({})),
        change(|it| it["verify_keys"] = serde_json::json!({})),
        change(|it| {
            let key = it["verify_keys"]["ed25519:1"].clone();
            it["verify_keys"]["ed25519:2"] = key;
        }),
    ] {
        document::verify(server, &bad, NOW_MS).unwrap_err();
    }
}

#[test]
fn a_notarys_signature_stands_beside_the_servers() {
    let identity = Identity::new(ServerName::parse("b.lu").unwrap(), key()).unwrap();
    let notary = Identity::new(ServerName::parse("dir.lu").unwrap(), key()).unwrap();
    let membership = crate::Membership::open(None);
    let document = document::own(&identity, &membership, NOW_MS).unwrap();
    let vouched = document::countersigned(&notary, document.json().get()).unwrap();
    document::verify(identity.server_name(), &vouched, NOW_MS).unwrap();

    let object: ruma::CanonicalJsonObject = serde_json::from_str(vouched.json().get()).unwrap();
    let mut keys: PublicKeyMap = identity.public_key_map();
    keys.extend(notary.public_key_map());
    verify_json(&keys, &object).unwrap();
    keys.insert("dir.lu".to_owned(), PublicKeySet::new());
    verify_json(&keys, &object).unwrap_err();
}
