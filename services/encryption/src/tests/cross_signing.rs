use std::collections::BTreeMap;

use luxchat_store::CrossSigningUsage;
use ruma::{OwnedUserId, UserId, api::client::keys::upload_signatures::v3::SignedKeys};
use serde_json::{Value, json};

use super::fixture::{
    Device, Identity, Server, all_devices, device_value, key_value, raw, user_id,
};
use crate::{CrossSigningUpload, Error, SignatureFailure, SignatureFailures, UserKeys};

async fn query(server: &Server, viewer: &UserId, user: &UserId) -> UserKeys {
    server
        .encryption
        .query_keys(viewer, all_devices(&[user]), None)
        .await
        .unwrap()
        .users
        .remove(user)
        .unwrap()
}

fn signed(user: &UserId, key: &str, object: &Value) -> BTreeMap<OwnedUserId, SignedKeys> {
    let keys = json!({ user: { key: object } });
    serde_json::from_value(keys).unwrap()
}

async fn upload_signature(
    server: &Server,
    signer: &UserId,
    target: &UserId,
    key: &str,
    object: &Value,
) -> SignatureFailures {
    server
        .encryption
        .upload_signatures(signer, signed(target, key, object))
        .await
        .unwrap()
}

fn failure(user: &UserId, key: &str, failure: SignatureFailure) -> SignatureFailures {
    let keys = BTreeMap::from([(key.to_owned(), failure)]);
    BTreeMap::from([(user.to_owned(), keys)])
}

/// A user with a device and cross-signing keys.
async fn person(server: &Server, user: &str) -> (Device, Identity) {
    let device = server.device(user, "PHONE").await;
    let identity = Identity::new(&device.user);
    server.publish(&identity).await;
    (device, identity)
}

#[tokio::test]
async fn the_user_signing_key_is_for_its_owner_alone() {
    let server = Server::alone();
    let (alice, _) = person(&server, "@alice:a.example").await;
    let (bob, _) = person(&server, "@bob:a.example").await;
    let own = query(&server, &alice.user, &alice.user).await.cross_signing;
    assert_eq!(own.len(), 3);
    let others = query(&server, &bob.user, &alice.user).await.cross_signing;
    let public = [CrossSigningUsage::Master, CrossSigningUsage::SelfSigning];
    assert_eq!(others.keys().copied().collect::<Vec<_>>(), public);
    let served = server
        .encryption
        .serve_key_query(all_devices(&[&alice.user]))
        .await
        .unwrap();
    let served = &served[&alice.user].cross_signing;
    assert_eq!(served.keys().copied().collect::<Vec<_>>(), public);
}

#[tokio::test]
async fn first_keys_and_same_keys_need_no_authentication_but_others_do() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await.user;
    let first = Identity::new(&alice);
    let upload = |identity: &Identity, authenticated| {
        server
            .encryption
            .upload_cross_signing(&alice, identity.upload(), authenticated)
    };
    upload(&first, false).await.unwrap();
    let after_first = server.position().await;
    upload(&first, false).await.unwrap();
    assert_eq!(server.position().await, after_first);

    let second = Identity::new(&alice);
    assert!(matches!(
        upload(&second, false).await,
        Err(Error::AuthenticationRequired)
    ));
    // Another self-signing key under the same master key is a new key, too.
    let mut mixed = first.upload();
    mixed.self_signing = Some(raw(&first.key("self_signing", &second.self_signing)));
    let outcome = server
        .encryption
        .upload_cross_signing(&alice, mixed, false)
        .await;
    assert!(matches!(outcome, Err(Error::AuthenticationRequired)));

    upload(&second, true).await.unwrap();
    let now = query(&server, &alice, &alice).await.cross_signing;
    assert_eq!(
        now[&CrossSigningUsage::Master].key_id,
        second.master.public()
    );
}

#[tokio::test]
async fn keys_must_be_signed_by_the_master_key() {
    let server = Server::alone();
    let alice = server.device("@alice:a.example", "PHONE").await.user;
    let (identity, other) = (Identity::new(&alice), Identity::new(&alice));
    let upload = |upload| {
        server
            .encryption
            .upload_cross_signing(&alice, upload, false)
    };
    let without_master = CrossSigningUpload {
        self_signing: identity.upload().self_signing,
        ..CrossSigningUpload::default()
    };
    assert!(matches!(
        upload(without_master).await,
        Err(Error::NoMasterKey)
    ));
    let mut foreign = identity.upload();
    foreign.user_signing = other.upload().user_signing;
    assert!(matches!(
        upload(foreign).await,
        Err(Error::InvalidSignature(_))
    ));
    let mut two_keys = identity.key("master", &identity.master);
    two_keys["keys"][format!("ed25519:{}", other.master.public())] = other.master.public().into();
    let mut of_bob = identity.key("master", &identity.master);
    of_bob["user_id"] = "@bob:a.example".into();
    for wrong in [
        two_keys,
        of_bob,
        identity.key("self_signing", &identity.master),
    ] {
        let upload = upload(CrossSigningUpload {
            master: Some(raw(&wrong)),
            ..CrossSigningUpload::default()
        });
        assert!(matches!(upload.await, Err(Error::Invalid(_))));
    }
}

#[tokio::test]
async fn a_new_master_key_takes_the_old_ones_keys_away() {
    let server = Server::alone();
    let (alice, _) = person(&server, "@alice:a.example").await;
    let new = Identity::new(&alice.user);
    let master_only = CrossSigningUpload {
        master: new.upload().master,
        ..CrossSigningUpload::default()
    };
    server
        .encryption
        .upload_cross_signing(&alice.user, master_only, true)
        .await
        .unwrap();
    let now = query(&server, &alice.user, &alice.user).await.cross_signing;
    assert_eq!(
        now.keys().copied().collect::<Vec<_>>(),
        [CrossSigningUsage::Master]
    );
}

#[tokio::test]
async fn a_user_signs_own_devices_for_all_to_see() {
    let server = Server::alone();
    let (alice, identity) = person(&server, "@alice:a.example").await;
    let (bob, _) = person(&server, "@bob:a.example").await;
    server.join("room", "@alice:a.example").await;
    server.join("room", "@bob:a.example").await;
    let before = server.position().await;
    let (user, name) = (&alice.user, identity.self_signing.public());
    let mut keys = alice.keys();
    identity.self_signing.sign(&mut keys, user, &name);
    let failures = upload_signature(&server, user, user, "PHONE", &keys).await;
    assert_eq!(failures, SignatureFailures::new());

    let seen = query(&server, &bob.user, user).await;
    let seen = device_value(&seen.devices[&alice.id]);
    let key_id = format!("ed25519:{name}");
    assert_eq!(
        seen["signatures"][user.as_str()][&key_id],
        keys["signatures"][user.as_str()][&key_id]
    );
    // The device's own signature stays.
    assert!(seen["signatures"][user.as_str()]["ed25519:PHONE"].is_string());
    let now = server.position().await;
    let changes = server
        .encryption
        .key_changes(&bob.user, before, now)
        .await
        .unwrap();
    assert_eq!(&changes.changed, std::slice::from_ref(user));
}

#[tokio::test]
async fn a_device_signs_its_users_master_key() {
    let server = Server::alone();
    let (alice, identity) = person(&server, "@alice:a.example").await;
    let (user, name) = (&alice.user, identity.master.public());
    let mut master = identity.key("master", &identity.master);
    alice.key.sign(&mut master, user, "PHONE");
    let failures = upload_signature(&server, user, user, &name, &master).await;
    assert_eq!(failures, SignatureFailures::new());
    let list = server.encryption.device_list(user).await.unwrap();
    let told = key_value(&list.cross_signing[&CrossSigningUsage::Master].key);
    assert!(told["signatures"][user.as_str()]["ed25519:PHONE"].is_string());
}

#[tokio::test]
async fn a_signature_over_another_user_is_for_its_signer_alone() {
    let server = Server::alone();
    let (alice, alices) = person(&server, "@alice:a.example").await;
    let (bob, bobs) = person(&server, "@bob:a.example").await;
    let before = server.position().await;
    let mut master = bobs.key("master", &bobs.master);
    let key_id = alices.user_signing.public();
    alices.user_signing.sign(&mut master, &alice.user, &key_id);
    let bobs_key = bobs.master.public();
    let failures = upload_signature(&server, &alice.user, &bob.user, &bobs_key, &master).await;
    assert_eq!(failures, SignatureFailures::new());

    let signatures_seen_by = |viewer: OwnedUserId| {
        let (server, bob, alice) = (&server, &bob, &alice);
        async move {
            let keys = query(server, &viewer, &bob.user).await.cross_signing;
            let master = key_value(&keys[&CrossSigningUsage::Master].key);
            master["signatures"][alice.user.as_str()].clone()
        }
    };
    assert!(signatures_seen_by(alice.user.clone()).await.is_object());
    assert!(signatures_seen_by(bob.user.clone()).await.is_null());
    let list = server.encryption.device_list(&bob.user).await.unwrap();
    let served = key_value(&list.cross_signing[&CrossSigningUsage::Master].key);
    assert!(served["signatures"][alice.user.as_str()].is_null());

    // Alice's other clients look at Bob's keys again; Bob's have no reason to.
    let now = server.position().await;
    let of_alice = server.encryption.key_changes(&alice.user, before, now);
    let changed = of_alice.await.unwrap().changed;
    assert_eq!(&changed, std::slice::from_ref(&bob.user));
    let of_bob = server.encryption.key_changes(&bob.user, before, now);
    assert!(of_bob.await.unwrap().changed.is_empty());
}

#[tokio::test]
async fn wrong_signatures_are_answered_one_by_one() {
    let server = Server::alone();
    let (alice, identity) = person(&server, "@alice:a.example").await;
    let (bob, bobs) = person(&server, "@bob:a.example").await;
    let user = &alice.user;
    let name = identity.self_signing.public();

    let mut by_the_wrong_key = alice.keys();
    bobs.self_signing.sign(&mut by_the_wrong_key, user, &name);
    let failures = upload_signature(&server, user, user, "PHONE", &by_the_wrong_key).await;
    let invalid = SignatureFailure::InvalidSignature;
    assert_eq!(failures, failure(user, "PHONE", invalid));

    let mut other_keys = alice.keys();
    other_keys["algorithms"] = json!([]);
    identity.self_signing.sign(&mut other_keys, user, &name);
    let failures = upload_signature(&server, user, user, "PHONE", &other_keys).await;
    let different = SignatureFailure::DifferentKey;
    assert_eq!(failures, failure(user, "PHONE", different));

    let failures = upload_signature(&server, user, user, "GONE", &alice.keys()).await;
    let unknown = SignatureFailure::UnknownKey;
    assert_eq!(failures, failure(user, "GONE", unknown));
    let nobody = user_id("@nobody:a.example");
    let failures = upload_signature(&server, user, &nobody, "GONE", &alice.keys()).await;
    assert_eq!(failures, failure(&nobody, "GONE", unknown));

    // Nobody signs the devices of others.
    let mut device = bob.keys();
    identity
        .user_signing
        .sign(&mut device, user, &identity.user_signing.public());
    let failures = upload_signature(&server, user, &bob.user, "PHONE", &device).await;
    assert_eq!(failures, failure(&bob.user, "PHONE", invalid));
}

#[tokio::test]
async fn other_identity_keys_lose_the_signatures_of_the_old_ones() {
    let server = Server::alone();
    let (alice, identity) = person(&server, "@alice:a.example").await;
    let (user, name) = (&alice.user, identity.self_signing.public());
    let mut keys = alice.keys();
    identity.self_signing.sign(&mut keys, user, &name);
    upload_signature(&server, user, user, "PHONE", &keys).await;
    let again = server.device("@alice:a.example", "PHONE").await;
    let seen = query(&server, user, user).await;
    let seen = device_value(&seen.devices[&again.id]);
    assert!(seen["signatures"][user.as_str()][format!("ed25519:{name}")].is_null());
}

#[tokio::test]
async fn a_cross_signing_key_cannot_bear_the_name_of_a_device() {
    let server = Server::alone();
    let alice = user_id("@alice:a.example");
    let identity = Identity::new(&alice);
    server
        .device(alice.as_str(), &identity.master.public())
        .await;
    let outcome = server
        .encryption
        .upload_cross_signing(&alice, identity.upload(), false)
        .await;
    assert!(matches!(outcome, Err(Error::KeyIdInUse)));
}
