//! Keys change hands, and boxes follow.

use luxchat_bundle::{TrustStore, UpdateError};
use luxchat_provision::{Error, KeyName, KeyRole};

use crate::nation::{Nation, Without, after_days, everybody, now, offer};

#[tokio::test]
async fn boxes_follow_each_rotation() {
    let mut nation = Nation::new();
    nation.enrol("interior.lu");
    nation.publish();
    let store = nation.trust_store("trust");
    nation.offer(&store).await.unwrap();

    for (name, successor) in [
        (KeyName::Publishing(1), KeyName::Publishing(2)),
        (KeyName::Targets(2), KeyName::Targets(3)),
        (KeyName::Root(1), KeyName::Root(4)),
        (KeyName::Root(4), KeyName::Root(5)),
    ] {
        let made = nation
            .authority
            .rotate_key(name, &everybody(), now())
            .unwrap();
        assert_eq!(made, successor);
        nation.publish();
        let bundle = nation.offer(&store).await.unwrap();
        assert_eq!(bundle.root_version, nation.authority.root_version());
    }
    let (names, threshold) = nation.authority.quorum(KeyRole::Root);
    assert_eq!(
        (names, threshold),
        (
            vec![KeyName::Root(2), KeyName::Root(3), KeyName::Root(5)],
            2
        )
    );

    // Both a box that saw nothing of it and one that restarts.
    let first_root = std::fs::read(nation.path("authority/roots/1.root.json")).unwrap();
    let late = TrustStore::create(&nation.path("late"), &first_root).unwrap();
    assert_eq!(nation.offer(&late).await.unwrap().root_version, 5);
    let again = TrustStore::open(&nation.path("trust")).unwrap();
    assert_eq!(again.current(now()).await.unwrap().unwrap().version, 5);
}

#[tokio::test]
async fn a_box_that_came_late_passes_on_the_whole_chain() {
    let mut nation = Nation::new();
    let first = nation.trust_store("first");
    for name in [KeyName::Publishing(1), KeyName::Root(1), KeyName::Root(2)] {
        nation
            .authority
            .rotate_key(name, &everybody(), now())
            .unwrap();
    }
    nation.publish();
    let late = nation.trust_store("late");
    nation.offer(&late).await.unwrap();
    let bundle = offer(&first, late.folder().to_owned(), now())
        .await
        .unwrap();
    assert_eq!(bundle.root_version, 4);

    let newest = nation.authority.trusted_root().unwrap();
    let oldest = nation.authority.first_root().unwrap();
    assert!(first.knows_root(&newest) && first.knows_root(&oldest));
    assert!(late.knows_root(&newest) && !late.knows_root(&oldest));
    let foreign = Nation::new().authority.trusted_root().unwrap();
    assert!(!first.knows_root(&foreign));

    // A source that offers other roots in their place.
    let forged = nation.keep_as("forged");
    std::fs::write(forged.join("metadata/3.root.json"), foreign).unwrap();
    let later = nation.trust_store("later");
    offer(&later, forged, now()).await.unwrap();
    assert!(later.folder().join("metadata/4.root.json").exists());
    assert!(!later.folder().join("metadata/3.root.json").exists());
}

#[tokio::test]
async fn a_lost_root_key_is_replaced_without_it() {
    let mut nation = Nation::new();
    let lost = Without(&[KeyName::Root(2)]);
    nation
        .authority
        .rotate_key(KeyName::Root(2), &lost, now())
        .unwrap();
    nation.publish();
    nation.offer(&nation.trust_store("trust")).await.unwrap();

    let error = nation
        .authority
        .rotate_key(
            KeyName::Root(1),
            &Without(&[KeyName::Root(1), KeyName::Root(3)]),
            now(),
        )
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooFewSigners {
                have: 1,
                need: 2,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(nation.authority.root_version(), 2);
}

#[tokio::test]
async fn what_a_rotated_key_signs_counts_no_longer() {
    let mut nation = Nation::new();
    nation.publish();
    let before = nation.keep_as("before");
    nation
        .authority
        .rotate_key(KeyName::Targets(1), &everybody(), now())
        .unwrap();
    nation.publish();
    let store = nation.trust_store("trust");
    nation.offer(&store).await.unwrap();
    assert!(matches!(
        offer(&store, before, now()).await,
        Err(UpdateError::Rollback(_))
    ));

    // A repository of the new root in which the old keys signed the targets.
    let fresh = nation.fresh_store();
    let old = nation.path("before/metadata/1.targets.json");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(old).unwrap()).unwrap();
    let targets = nation.path("repository/metadata/2.targets.json");
    let mut forged: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&targets).unwrap()).unwrap();
    forged["signatures"] = json["signatures"].clone();
    std::fs::write(&targets, serde_json::to_vec(&forged).unwrap()).unwrap();
    nation.resign_publishing(
        &targets,
        &nation.path("repository/metadata/2.snapshot.json"),
        &nation.path("repository/metadata/timestamp.json"),
    );
    assert!(matches!(
        nation.offer(&fresh).await,
        Err(UpdateError::BadSignature { valid: 0, .. })
    ));
}

#[tokio::test]
async fn the_root_is_renewed_before_and_after_it_expires() {
    let mut nation = Nation::new();
    nation.publish();
    let store = nation.trust_store("trust");
    nation.offer(&store).await.unwrap();
    let late = after_days(2000);
    let repository = nation.path("repository");
    let error = nation
        .authority
        .publish(&repository, &everybody(), late)
        .unwrap_err();
    assert!(matches!(error, Error::RootExpired(_)), "{error}");
    nation.authority.renew_root(&everybody(), late).unwrap();
    nation.publish_at(late);
    let bundle = offer(&store, repository, late).await.unwrap();
    assert_eq!((bundle.root_version, bundle.version), (2, 2));
}

#[test]
fn only_signing_keys_in_use_are_rotated() {
    let mut nation = Nation::new();
    let mut rotate = |name| {
        nation
            .authority
            .rotate_key(name, &everybody(), now())
            .map(|_| ())
    };
    assert!(matches!(
        rotate(KeyName::CertificateAuthority),
        Err(Error::NotRotatable(_))
    ));
    assert!(matches!(rotate(KeyName::Root(4)), Err(Error::UnusedKey(_))));
    rotate(KeyName::Root(1)).unwrap();
    assert!(matches!(rotate(KeyName::Root(1)), Err(Error::UnusedKey(_))));
}

#[test]
fn an_old_copy_of_the_authority_does_not_publish_over_a_newer_one() {
    let mut nation = Nation::new();
    let old = std::fs::read(nation.path("authority/publication.json")).unwrap();
    nation.publish();
    nation.publish();
    let folder = nation.path("authority");
    std::fs::write(folder.join("publication.json"), old).unwrap();
    drop(nation.authority);
    nation.authority = luxchat_provision::Authority::open(&folder).unwrap();
    let error = nation
        .authority
        .publish(
            &nation.folder.path().join("repository"),
            &everybody(),
            now(),
        )
        .unwrap_err();
    assert!(error.to_string().contains("is this an old copy"), "{error}");
    let home = nation.folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("letter.txt"), "dear").unwrap();
    let error = nation
        .authority
        .publish(&home, &everybody(), now())
        .unwrap_err();
    assert!(matches!(error, Error::NotRepository(_)), "{error}");
}
