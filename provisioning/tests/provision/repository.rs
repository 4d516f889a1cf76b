//! What a box refuses to take over.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use luxchat_bundle::{
    Bundle, DirectorySource, Source, SourceError, SourceFuture, TrustStore, UpdateError,
};
use luxchat_provision::verify;

use crate::nation::{Nation, after_days, now, offer, plan};

#[tokio::test]
async fn a_rollback_is_refused() {
    let mut nation = Nation::new();
    nation.enrol("interior.lu");
    nation.publish();
    let first = nation.keep_as("first");
    nation
        .authority
        .revoke("interior.lu", "stolen", now())
        .unwrap();
    nation.publish();
    let store = nation.trust_store("trust");
    let second = nation.offer(&store).await.unwrap();
    assert_eq!(second.version, 2);

    let error = offer(&store, first.clone(), now()).await.unwrap_err();
    assert!(matches!(error, UpdateError::Rollback(_)), "{error}");
    assert!(
        error.to_string().starts_with("rollback refused: "),
        "{error}"
    );
    // Nor after a restart, nor with the metadata of the new and the list of the old.
    let store = TrustStore::open(&nation.path("trust")).unwrap();
    assert!(matches!(
        offer(&store, first.clone(), now()).await,
        Err(UpdateError::Rollback(_))
    ));
    assert_eq!(store.current(now()).await.unwrap(), Some(second.clone()));
    let old_list = only_file(&first.join("targets"), "members.json");
    for entry in fs::read_dir(nation.path("repository/targets")).unwrap() {
        let path = entry.unwrap().path();
        fs::write(path, fs::read(&old_list).unwrap()).unwrap();
    }
    let fresh = nation.trust_store("fresh");
    let error = nation.offer(&fresh).await.unwrap_err();
    assert!(matches!(error, UpdateError::Tampered(_)), "{error}");
}

#[tokio::test]
async fn the_last_good_one_serves_until_it_expires() {
    let mut nation = Nation::new();
    nation.enrol("interior.lu");
    nation.publish();
    let store = nation.trust_store("trust");
    let bundle = nation.offer(&store).await.unwrap();
    let repository = nation.path("repository");

    let last_day = after_days(89);
    assert_eq!(store.current(last_day).await.unwrap(), Some(bundle));
    offer(&store, repository.clone(), last_day).await.unwrap();

    // A frozen directory keeps offering what it has.
    for day in [90, 91, 4000] {
        let error = offer(&store, repository.clone(), after_days(day))
            .await
            .unwrap_err();
        assert!(matches!(error, UpdateError::Expired { .. }), "{error}");
        assert!(store.current(after_days(day)).await.is_err());
    }
    let error = store.current(after_days(90)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the timestamp metadata expired at 2026-05-30T12:00:00Z"
    );

    // The next publication heals it.
    nation.publish_at(after_days(95));
    let bundle = offer(&store, repository, after_days(95)).await.unwrap();
    assert_eq!(bundle.expires, after_days(180 + 5));
}

#[tokio::test]
async fn a_clock_that_lost_the_time_is_not_believed() {
    let mut plan = plan();
    plan.settings.repository_days.timestamp = 1;
    let mut nation = Nation::with(&plan);
    nation.publish();
    let in_1970 = "1970-01-01T00:00:10Z".parse().unwrap();
    let store = nation.trust_store("trust");
    let repository = nation.path("repository");
    let bundle = offer(&store, repository, in_1970).await.unwrap();
    assert_eq!(bundle.expires, after_days(1));
}

#[tokio::test]
async fn changes_after_signing_are_found() {
    let mut nation = Nation::new();
    nation.enrol("interior.lu");
    nation.publish();
    let good = nation.keep_as("good");
    let tamper = |file: PathBuf, from: &str, to: &str| {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{} holds no {from}", file.display());
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
    };
    /// A file, what of it is replaced by what, and whether the refusal is right.
    type Case = (
        &'static str,
        &'static str,
        &'static str,
        fn(&UpdateError) -> bool,
    );
    let cases: [Case; 6] = [
        (
            "members.json",
            "interior.lu:8448",
            "interior.lu:8449",
            |error| matches!(error, UpdateError::Tampered(file) if file.ends_with("members.json")),
        ),
        ("1.targets.json", "\"length\": ", "\"length\": 1", |error| {
            matches!(error, UpdateError::Tampered(_) | UpdateError::TooLarge(_))
        }),
        (
            "1.snapshot.json",
            "\"version\": 1",
            "\"version\": 2",
            |error| matches!(error, UpdateError::Tampered(file) if file.ends_with("1.snapshot.json")),
        ),
        (
            "timestamp.json",
            "2026-05-30",
            "2036-05-30",
            |error| matches!(error, UpdateError::BadSignature { role, valid: 0, .. } if role == "timestamp"),
        ),
        ("timestamp.json", "\"sig\": \"", "\"sig\": \"zz", |error| {
            matches!(error, UpdateError::Malformed(_))
        }),
        ("timestamp.json", "{", "", |error| {
            matches!(error, UpdateError::Malformed(_))
        }),
    ];
    for (name, from, to, expected) in cases {
        let repository = nation.path("repository");
        let part = if name == "members.json" {
            "targets"
        } else {
            "metadata"
        };
        let file = only_file(&repository.join(part), name);
        tamper(file.clone(), from, to);
        let store = nation.fresh_store();
        let error = nation.offer(&store).await.unwrap_err();
        assert!(expected(&error), "{name}: {error:?}");
        assert_eq!(store.current(now()).await.unwrap(), None);
        fs::copy(only_file(&good.join(part), name), file).unwrap();
        nation.offer(&store).await.unwrap();
    }
}

#[tokio::test]
async fn too_few_signatures_are_told_from_wrong_ones() {
    let mut nation = Nation::new();
    nation.publish();
    let repository = nation.path("repository");
    let targets = repository.join("metadata/1.targets.json");
    let sound = fs::read(&targets).unwrap();
    let edit = |change: &dyn Fn(&mut Vec<serde_json::Value>)| {
        let mut json: serde_json::Value = serde_json::from_slice(&sound).unwrap();
        change(json["signatures"].as_array_mut().unwrap());
        fs::write(&targets, serde_json::to_vec(&json).unwrap()).unwrap();
    };
    // The snapshot bears the digest of this file; a thief of the publishing key could sign a new
    // one, so the check must hold without it.
    let (snapshot, timestamp) = (
        repository.join("metadata/1.snapshot.json"),
        repository.join("metadata/timestamp.json"),
    );
    let resign = || {
        nation.resign_publishing(&targets, &snapshot, &timestamp);
    };

    edit(&|signatures| {
        signatures.pop();
    });
    resign();
    let error = nation.offer(&nation.fresh_store()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "too few signatures under the targets metadata: 1 of 2 needed"
    );

    edit(&|signatures| signatures[0]["sig"] = signatures[1]["sig"].clone());
    resign();
    let error = nation.offer(&nation.fresh_store()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "wrong signature under the targets metadata: 1 of 2 needed are right"
    );

    // One holder does not count twice.
    edit(&|signatures| signatures[1] = signatures[0].clone());
    resign();
    assert!(nation.offer(&nation.fresh_store()).await.is_err());

    fs::write(&targets, &sound).unwrap();
    resign();
    nation.offer(&nation.fresh_store()).await.unwrap();
}

#[tokio::test]
async fn another_authority_is_refused() {
    let mut nation = Nation::new();
    nation.publish();
    let mut foreign = Nation::new();
    foreign.publish();
    let error = offer(
        &nation.trust_store("trust"),
        foreign.path("repository"),
        now(),
    )
    .await
    .unwrap_err();
    assert!(
        matches!(
            error,
            UpdateError::TooFewSignatures { .. } | UpdateError::BadSignature { .. }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn missing_and_oversize_files_are_named() {
    let mut nation = Nation::new();
    nation.publish();
    let good = nation.keep_as("good");
    let repository = nation.path("repository");
    let empty = nation.path("empty");
    fs::create_dir(&empty).unwrap();
    let error = offer(&nation.fresh_store(), empty, now())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "metadata/timestamp.json is missing from the repository"
    );
    for (part, name) in [
        ("metadata", "1.snapshot.json"),
        ("metadata", "1.targets.json"),
        ("targets", "members.json"),
    ] {
        let file = only_file(&repository.join(part), name);
        fs::remove_file(&file).unwrap();
        let error = nation.offer(&nation.fresh_store()).await.unwrap_err();
        assert!(
            matches!(&error, UpdateError::Missing(path) if path.ends_with(name)),
            "{error:?}"
        );
        fs::copy(only_file(&good.join(part), name), &file).unwrap();
    }
    fs::write(
        repository.join("metadata/timestamp.json"),
        vec![b' '; 3 * 1024 * 1024],
    )
    .unwrap();
    let error = nation.offer(&nation.fresh_store()).await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[tokio::test]
async fn an_interrupted_update_leaves_a_whole_repository() {
    let mut nation = Nation::new();
    nation.enrol("interior.lu");
    nation.publish();
    let store = nation.trust_store("trust");
    let first = nation.offer(&store).await.unwrap();
    nation.enrol("finance.lu");
    nation.publish();

    // Everything of the second publication is there but the file that leads to it.
    for part in ["metadata", "targets"] {
        for entry in fs::read_dir(nation.path("repository").join(part)).unwrap() {
            let from = entry.unwrap().path();
            let name = from.file_name().unwrap();
            if name != "timestamp.json" {
                fs::copy(&from, nation.path("trust").join(part).join(name)).unwrap();
            }
        }
    }
    let store = TrustStore::open(store.folder()).unwrap();
    assert_eq!(store.current(now()).await.unwrap(), Some(first));
    let second = nation.offer(&store).await.unwrap();
    assert_eq!(store.current(now()).await.unwrap(), Some(second));
}

#[tokio::test]
async fn the_copy_does_not_grow() {
    let mut nation = Nation::new();
    nation.enrol("interior.lu");
    let store = nation.trust_store("trust");
    for _ in 0..5 {
        nation.publish();
        nation.offer(&store).await.unwrap();
        nation.offer(&store).await.unwrap();
    }
    let count = |part: &str| {
        fs::read_dir(nation.path("trust").join(part))
            .unwrap()
            .count()
    };
    // The root, the timestamp, and snapshot and targets of this publication and the one before.
    assert_eq!(count("metadata"), 6);
    assert!(count("targets") <= 2);
    assert_eq!(fs::read_dir(nation.path("trust")).unwrap().count(), 3);
}

#[tokio::test]
async fn a_damaged_copy_is_noticed_and_healed() {
    let mut nation = Nation::new();
    nation.publish();
    let store = nation.trust_store("trust");
    let bundle = nation.offer(&store).await.unwrap();
    fs::write(nation.path("trust/metadata/1.snapshot.json"), b"{}").unwrap();
    assert!(store.current(now()).await.is_err());
    assert_eq!(nation.offer(&store).await.unwrap(), bundle);
    assert_eq!(store.current(now()).await.unwrap(), Some(bundle));
}

#[tokio::test]
async fn a_source_that_fails_is_not_taken_for_the_end_of_the_roots() {
    /// Answers everything but requests for roots.
    #[derive(Debug)]
    struct WithoutRoots(DirectorySource);

    impl Source for WithoutRoots {
        fn fetch<'a>(&'a self, path: &'a str, limit: u64) -> SourceFuture<'a> {
            if path.ends_with(".root.json") {
                return Box::pin(async { Err(SourceError::Failed("timed out".to_owned())) });
            }
            self.0.fetch(path, limit)
        }
    }

    let mut nation = Nation::new();
    nation.publish();
    let source = WithoutRoots(DirectorySource::new(nation.path("repository")));
    let error = nation
        .fresh_store()
        .update(Arc::new(source), now())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the repository cannot be fetched: metadata/2.root.json: timed out"
    );
}

#[tokio::test]
async fn a_repository_can_be_verified_on_any_machine() {
    let mut nation = Nation::new();
    nation.enrol("interior.lu");
    nation.publish();
    let root = nation.authority.trusted_root().unwrap();
    let check = async |at| verify(&nation.path("repository"), &root, at).await;
    let bundle: Bundle = check(now()).await.unwrap();
    assert_eq!(bundle.members.len(), 1);
    assert!(check(after_days(100)).await.is_err());
    assert!(
        verify(&nation.path("repository"), b"{}", now())
            .await
            .is_err()
    );
}

/// The one file in `folder` whose name ends so.
fn only_file(folder: &Path, end: &str) -> PathBuf {
    let found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    assert_eq!(found.len(), 1, "{end} in {}", folder.display());
    found[0].clone()
}
