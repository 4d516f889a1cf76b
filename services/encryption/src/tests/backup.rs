use luxchat_store::{BackedUpSession, SessionFilter};
use proptest::{prelude::*, test_runner::Config as ProptestConfig};
use ruma::{OwnedRoomId, UserId, room_id};
use serde_json::{Value, json};

use super::fixture::{Server, raw};
use crate::{BackupState, Error};

const ALGORITHM: &str = "m.megolm_backup.v1.curve25519-aes-sha2";

fn algorithm() -> Value {
    json!({ "algorithm": ALGORITHM, "auth_data": { "public_key": "abc", "signatures": {} } })
}

fn session(room: &str, name: &str, quality: (bool, u32, u32), secret: &str) -> BackedUpSession {
    BackedUpSession {
        room_id: OwnedRoomId::try_from(format!("!{room}:a.example")).unwrap(),
        session_id: name.to_owned(),
        data: raw(&json!({
            "is_verified": quality.0,
            "first_message_index": quality.1,
            "forwarded_count": quality.2,
            "session_data": { "ephemeral": "a", "ciphertext": secret, "mac": "c" },
        })),
    }
}

async fn put(
    server: &Server,
    user: &UserId,
    version: &str,
    sessions: Vec<BackedUpSession>,
) -> Result<BackupState, Error> {
    server
        .encryption
        .put_backup_keys(user, version.to_owned(), sessions)
        .await
}

async fn secrets(server: &Server, user: &UserId, version: &str) -> Vec<String> {
    server
        .encryption
        .backup_keys(user, version.to_owned(), SessionFilter::All)
        .await
        .unwrap()
        .into_iter()
        .map(|session| {
            let data: Value = serde_json::from_str(session.data.json().get()).unwrap();
            data["session_data"]["ciphertext"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[tokio::test]
async fn versions_come_and_go_and_numbers_never_return() {
    let server = Server::alone();
    let alice = server.bare_device("@alice:a.example", "PHONE").await.user;
    let encryption = &server.encryption;
    assert!(matches!(
        encryption.backup(&alice, None).await,
        Err(Error::NotFound(_))
    ));
    let first = encryption
        .create_backup(&alice, &raw(&algorithm()))
        .await
        .unwrap();
    let second = encryption
        .create_backup(&alice, &raw(&algorithm()))
        .await
        .unwrap();
    assert_eq!((first.as_str(), second.as_str()), ("1", "2"));
    let latest = encryption.backup(&alice, None).await.unwrap();
    assert_eq!(latest.version, "2");
    let told: Value = serde_json::from_str(latest.algorithm.json().get()).unwrap();
    assert_eq!(told, algorithm());

    encryption.delete_backup(&alice, "2").await.unwrap();
    encryption.delete_backup(&alice, "2").await.unwrap();
    assert!(matches!(
        encryption.backup(&alice, Some("2".to_owned())).await,
        Err(Error::NotFound(_))
    ));
    assert_eq!(encryption.backup(&alice, None).await.unwrap().version, "1");
    let third = encryption
        .create_backup(&alice, &raw(&algorithm()))
        .await
        .unwrap();
    assert_eq!(third, "3");
    for unknown in ["17", "one"] {
        assert!(matches!(
            encryption.delete_backup(&alice, unknown).await,
            Err(Error::NotFound(_))
        ));
    }
}

#[tokio::test]
async fn only_auth_data_of_the_same_algorithm_and_version_can_change() {
    let server = Server::alone();
    let alice = server.bare_device("@alice:a.example", "PHONE").await.user;
    let encryption = &server.encryption;
    encryption
        .create_backup(&alice, &raw(&algorithm()))
        .await
        .unwrap();
    let update = |value: Value| {
        let alice = alice.clone();
        async move {
            encryption
                .update_backup(&alice, "1".to_owned(), &raw(&value))
                .await
        }
    };
    for wrong in [
        json!({ "algorithm": "other", "auth_data": {} }),
        json!({ "algorithm": ALGORITHM, "auth_data": {}, "version": "2" }),
        json!({ "algorithm": ALGORITHM, "auth_data": [] }),
        json!({ "algorithm": ALGORITHM }),
    ] {
        assert!(matches!(
            update(wrong).await,
            Err(Error::Invalid(_) | Error::Malformed(_))
        ));
    }
    update(json!({ "algorithm": ALGORITHM, "auth_data": { "public_key": "new" }, "version": "1" }))
        .await
        .unwrap();
    let told = encryption.backup(&alice, None).await.unwrap().algorithm;
    let told: Value = serde_json::from_str(told.json().get()).unwrap();
    assert_eq!(told["auth_data"]["public_key"], "new");
}

#[tokio::test]
async fn keys_go_into_the_newest_version_only() {
    let server = Server::alone();
    let alice = server.bare_device("@alice:a.example", "PHONE").await.user;
    let one = || vec![session("room", "one", (false, 0, 0), "secret")];
    assert!(matches!(
        put(&server, &alice, "1", one()).await,
        Err(Error::NotFound(_))
    ));
    for _ in 0..2 {
        server
            .encryption
            .create_backup(&alice, &raw(&algorithm()))
            .await
            .unwrap();
    }
    assert!(matches!(
        put(&server, &alice, "1", one()).await,
        Err(Error::WrongBackupVersion { current }) if current == "2"
    ));
    put(&server, &alice, "2", one()).await.unwrap();
}

#[tokio::test]
async fn counts_and_etags_follow_the_keys() {
    let server = Server::alone();
    let alice = server.bare_device("@alice:a.example", "PHONE").await.user;
    let encryption = &server.encryption;
    encryption
        .create_backup(&alice, &raw(&algorithm()))
        .await
        .unwrap();
    let all = vec![
        session("one", "a", (false, 5, 0), "1a"),
        session("one", "b", (false, 5, 0), "1b"),
        session("two", "a", (false, 5, 0), "2a"),
    ];
    let stored = put(&server, &alice, "1", all.clone()).await.unwrap();
    assert_eq!(stored.count, 3_u32.into());
    let same = put(&server, &alice, "1", all).await.unwrap();
    assert_eq!(same, stored);
    let better = vec![session("one", "a", (false, 4, 0), "better")];
    let replaced = put(&server, &alice, "1", better).await.unwrap();
    assert_eq!(replaced.count, stored.count);
    assert_ne!(replaced.etag, stored.etag);
    assert_eq!(secrets(&server, &alice, "1").await, ["better", "1b", "2a"]);

    let room = room_id!("!one:a.example").to_owned();
    let delete = |filter| encryption.delete_backup_keys(&alice, "1".to_owned(), filter);
    let one = SessionFilter::Session(room.clone(), "a".to_owned());
    assert_eq!(delete(one.clone()).await.unwrap().count, 2_u32.into());
    assert!(matches!(
        encryption.backup_keys(&alice, "1".to_owned(), one).await,
        Err(Error::NotFound("key"))
    ));
    let rest = delete(SessionFilter::Room(room)).await.unwrap();
    assert_eq!(rest.count, 1_u32.into());
    assert_eq!(secrets(&server, &alice, "1").await, ["2a"]);
    assert_eq!(
        delete(SessionFilter::All).await.unwrap().count,
        0_u32.into()
    );
}

/// The rule as the spec words it.
fn is_better(new: (bool, u32, u32), old: (bool, u32, u32)) -> bool {
    if new.0 != old.0 {
        new.0
    } else if new.1 != old.1 {
        new.1 < old.1
    } else {
        new.2 < old.2
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_best_key_for_a_session_stays(
        uploads in prop::collection::vec((any::<bool>(), 0_u32..3, 0_u32..3), 1..12)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let server = Server::alone();
            let alice = server.bare_device("@alice:a.example", "PHONE").await.user;
            server.encryption.create_backup(&alice, &raw(&algorithm())).await.unwrap();
            let mut best = None;
            for (number, quality) in uploads.into_iter().enumerate() {
                let secret = number.to_string();
                put(&server, &alice, "1", vec![session("room", "one", quality, &secret)])
                    .await
                    .unwrap();
                if best.as_ref().is_none_or(|(old, _)| is_better(quality, *old)) {
                    best = Some((quality, secret));
                }
                let kept = secrets(&server, &alice, "1").await;
                assert_eq!(kept, [best.as_ref().unwrap().1.clone()]);
            }
        });
    }
}
