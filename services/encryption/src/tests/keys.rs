use std::collections::{BTreeMap, BTreeSet};

use ruma::{OneTimeKeyAlgorithm, OwnedDeviceId, OwnedUserId, uint};
use serde_json::json;

use super::fixture::{Device, Server, all_devices, device_value, one_time_key_id, raw};
use crate::{Error, KeyUpload};

fn claim(device: &Device) -> BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, OneTimeKeyAlgorithm>> {
    let algorithm = OneTimeKeyAlgorithm::SignedCurve25519;
    BTreeMap::from([(
        device.user.clone(),
        BTreeMap::from([(device.id.clone(), algorithm)]),
    )])
}

async fn claim_one(server: &Server, device: &Device) -> Option<String> {
    let claimed = server
        .encryption
        .claim_keys(claim(device), None)
        .await
        .unwrap();
    let devices = claimed.keys.get(&device.user)?;
    let (id, _) = devices.get(&device.id)?.iter().next()?;
    Some(id.key_name().to_string())
}

async fn upload(server: &Server, device: &Device, upload: KeyUpload) -> Result<(), Error> {
    server
        .encryption
        .upload_keys(&device.user, &device.id, upload)
        .await
        .map(|_| ())
}

#[tokio::test]
async fn concurrent_claims_get_each_key_once() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    let names: Vec<String> = (0..40).map(|number| format!("key{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    server.upload_one_time_keys(&alice, &names).await;

    let tasks: Vec<_> = (0..60)
        .map(|_| {
            let (encryption, claim) = (server.encryption.clone(), claim(&alice));
            tokio::spawn(async move { encryption.claim_keys(claim, None).await.unwrap() })
        })
        .collect();
    let mut claimed = Vec::new();
    for task in tasks {
        let keys = task.await.unwrap().keys;
        claimed.extend(
            keys.into_values()
                .flat_map(BTreeMap::into_values)
                .flat_map(BTreeMap::into_keys),
        );
    }
    let distinct: BTreeSet<_> = claimed.iter().collect();
    assert_eq!((claimed.len(), distinct.len()), (40, 40));
}

#[tokio::test]
async fn a_claimed_key_stays_claimed_after_a_crash() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    server.upload_one_time_keys(&alice, &["one", "two"]).await;
    let first = claim_one(&server, &alice).await.unwrap();
    let server = server.after_a_crash();
    let second = claim_one(&server, &alice).await.unwrap();
    assert_ne!(first, second);
    server.upload_one_time_keys(&alice, &["one", "two"]).await;
    assert_eq!(claim_one(&server, &alice).await, None);
}

#[tokio::test]
async fn keys_are_given_out_in_the_order_of_their_uploads() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    for name in ["zebra", "apple", "mango"] {
        server.upload_one_time_keys(&alice, &[name]).await;
    }
    for expected in ["zebra", "apple", "mango"] {
        assert_eq!(claim_one(&server, &alice).await.as_deref(), Some(expected));
    }
    assert_eq!(claim_one(&server, &alice).await, None);
}

#[tokio::test]
async fn a_repeated_upload_does_not_bring_a_claimed_key_back() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    server.upload_one_time_keys(&alice, &["once"]).await;
    assert_eq!(claim_one(&server, &alice).await.as_deref(), Some("once"));
    server.upload_one_time_keys(&alice, &["once"]).await;
    assert_eq!(claim_one(&server, &alice).await, None);
}

#[tokio::test]
async fn a_key_cannot_be_replaced_under_its_name() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    server.upload_one_time_keys(&alice, &["key"]).await;
    let other = KeyUpload {
        one_time_keys: BTreeMap::from([
            (one_time_key_id("key"), alice.one_time_key("other", false)),
            (one_time_key_id("new"), alice.one_time_key("new", false)),
        ]),
        ..KeyUpload::default()
    };
    assert!(matches!(
        upload(&server, &alice, other).await,
        Err(Error::OneTimeKeyExists(id)) if id == one_time_key_id("key")
    ));
    // Nothing of the refused upload is there.
    assert_eq!(claim_one(&server, &alice).await.as_deref(), Some("key"));
    assert_eq!(claim_one(&server, &alice).await, None);
}

#[tokio::test]
async fn counts_follow_uploads_and_claims() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    server.upload_one_time_keys(&alice, &["one", "two"]).await;
    claim_one(&server, &alice).await;
    let counts = server
        .encryption
        .upload_keys(&alice.user, &alice.id, KeyUpload::default())
        .await
        .unwrap();
    assert_eq!(
        counts,
        BTreeMap::from([(OneTimeKeyAlgorithm::SignedCurve25519, uint!(1))])
    );
}

#[tokio::test]
async fn a_fallback_key_serves_again_and_again_and_says_that_it_is_used() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    let fallback = |name: &str| KeyUpload {
        fallback_keys: BTreeMap::from([(one_time_key_id(name), alice.one_time_key(name, true))]),
        ..KeyUpload::default()
    };
    let unused = || async {
        let nid = server.nid(&alice.user).await;
        let device = alice.id.clone();
        server
            .store
            .read(move |tx| tx.unused_fallback_key_types(nid, &device))
            .await
            .unwrap()
            .len()
    };
    upload(&server, &alice, fallback("spare")).await.unwrap();
    server.upload_one_time_keys(&alice, &["first"]).await;
    assert_eq!(claim_one(&server, &alice).await.as_deref(), Some("first"));
    assert_eq!(unused().await, 1);
    for _ in 0..2 {
        assert_eq!(claim_one(&server, &alice).await.as_deref(), Some("spare"));
        assert_eq!(unused().await, 0);
    }
    // The same key again is still a used one; another one is not.
    upload(&server, &alice, fallback("spare")).await.unwrap();
    assert_eq!(unused().await, 0);
    upload(&server, &alice, fallback("fresh")).await.unwrap();
    assert_eq!(unused().await, 1);
    assert_eq!(claim_one(&server, &alice).await.as_deref(), Some("fresh"));
}

#[tokio::test]
async fn keys_of_another_device_are_refused() {
    let server = Server::alone();
    let alice = server.bare_device("@alice:a.example", "PHONE").await;
    for (field, wrong) in [
        ("user_id", json!("@bob:a.example")),
        ("device_id", json!("TABLET")),
        ("keys", json!({ "ed25519:TABLET": "abc" })),
    ] {
        let mut keys = alice.keys();
        keys[field] = wrong;
        let wrong = KeyUpload {
            device_keys: Some(raw(&keys)),
            ..KeyUpload::default()
        };
        let outcome = upload(&server, &alice, wrong).await;
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{field}");
    }
    let mut keys = alice.keys();
    keys["algorithms"] = json!("none");
    let malformed = KeyUpload {
        device_keys: Some(raw(&keys)),
        ..KeyUpload::default()
    };
    let outcome = upload(&server, &alice, malformed).await;
    assert!(matches!(outcome, Err(Error::Malformed(_))));
    let unsigned = KeyUpload {
        one_time_keys: BTreeMap::from([(
            one_time_key_id("key"),
            raw(&json!({ "key": "a2V5", "signatures": {} })),
        )]),
        ..KeyUpload::default()
    };
    let outcome = upload(&server, &alice, unsigned).await;
    assert!(matches!(outcome, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_query_names_devices_and_takes_only_those_asked_for() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    server.device("@alice:a.example", "TABLET").await;
    let queried = server
        .encryption
        .query_keys(&alice.user, all_devices(&[&alice.user]), None)
        .await
        .unwrap();
    let devices = &queried.users[&alice.user].devices;
    assert_eq!(devices.len(), 2);
    let phone = device_value(&devices[&alice.id]);
    assert_eq!(phone["unsigned"]["device_display_name"], "a name");

    let one = BTreeMap::from([(alice.user.clone(), vec![alice.id.clone()])]);
    let queried = server
        .encryption
        .query_keys(&alice.user, one, None)
        .await
        .unwrap();
    let devices = &queried.users[&alice.user].devices;
    assert_eq!(devices.keys().collect::<Vec<_>>(), [&alice.id]);
}

#[tokio::test]
async fn a_deleted_device_leaves_nothing_behind() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    server.upload_one_time_keys(&alice, &["key"]).await;
    let before = server.position().await;
    let (nid, device) = (server.nid(&alice.user).await, alice.id.clone());
    server
        .write(move |tx| tx.delete_device_encryption(nid, &device))
        .await;
    assert_eq!(claim_one(&server, &alice).await, None);
    let now = server.position().await;
    let changes = server
        .encryption
        .key_changes(&alice.user, before, now)
        .await
        .unwrap();
    assert_eq!(changes.changed, [alice.user]);
}

#[tokio::test]
async fn another_identity_takes_the_old_ones_keys_away() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await;
    server.upload_one_time_keys(&alice, &["old"]).await;
    // The same identity with something else about it keeps them.
    let mut keys = alice.keys();
    keys["algorithms"] = json!([]);
    let changed = KeyUpload {
        device_keys: Some(raw(&keys)),
        ..KeyUpload::default()
    };
    upload(&server, &alice, changed).await.unwrap();
    let counts = |device: &Device| {
        let (user, id) = (device.user.clone(), device.id.clone());
        let encryption = server.encryption.clone();
        async move {
            encryption
                .upload_keys(&user, &id, KeyUpload::default())
                .await
                .unwrap()
        }
    };
    assert_eq!(counts(&alice).await.len(), 1);
    let again = server.device("@alice:a.example", "PHONE").await;
    assert!(counts(&again).await.is_empty());
}
