//! Releases of the box's operating system: what the authority publishes, and what a box takes.

use std::{fs, path::PathBuf};

use luxchat_bundle::{DirectorySource, Naming, ReleaseFolder, UpdateError};
use luxchat_provision::{Error, verify};

use crate::nation::{Nation, after_days, now, offer};

const UUID: &str = "0123abcd-0123-4567-89ab-0123456789ab";

impl Nation {
    fn build(&self, version: &str) -> Vec<PathBuf> {
        let folder = self.path("build");
        fs::create_dir_all(&folder).unwrap();
        [
            format!("luxchat_{version}_{UUID}.root"),
            format!("luxchat_{version}_{UUID}.verity"),
            format!("luxchat_{version}.efi"),
        ]
        .map(|name| {
            let path = folder.join(&name);
            fs::write(&path, format!("the bytes of {name}")).unwrap();
            path
        })
        .to_vec()
    }

    fn release(&mut self, version: &str) {
        let files = self.build(version);
        self.authority.add_release(&files, now()).unwrap();
    }
}

#[tokio::test]
async fn a_release_reaches_a_box_as_it_was_built() {
    let mut nation = Nation::new();
    nation.release("0.9");
    nation.release("0.10");
    nation.publish();
    let store = nation.trust_store("trust");
    nation.offer(&store).await.unwrap();
    let releases = store.releases(now()).await.unwrap();
    let versions: Vec<_> = releases.iter().map(|it| it.version.to_string()).collect();
    assert_eq!(versions, ["0.9", "0.10"]);

    let folder = ReleaseFolder::new(nation.path("box-releases"));
    let source = DirectorySource::new(nation.path("repository"));
    let newest = releases.last().unwrap();
    folder.fetch(newest, &source, Naming::Plain).await.unwrap();
    for path in nation.build("0.10") {
        let taken = folder.path().join(path.file_name().unwrap());
        assert_eq!(fs::read(taken).unwrap(), fs::read(path).unwrap());
    }

    // What is no longer published stays for one publication, for those who are fetching it.
    let old = nation.path("repository").join(releases[0].files[0].path());
    let version = "0.9".parse().unwrap();
    nation.authority.remove_release(&version, now()).unwrap();
    nation.publish();
    assert!(old.exists());
    nation.publish();
    assert!(!old.exists());
    let root = nation.authority.first_root().unwrap();
    verify(&nation.path("repository"), &root, now())
        .await
        .unwrap();
    nation.offer(&store).await.unwrap();
    assert_eq!(store.releases(now()).await.unwrap(), releases[1..]);
}

#[tokio::test]
async fn a_forged_expired_or_older_release_is_refused() {
    let mut nation = Nation::new();
    nation.release("1");
    nation.publish();
    let first = nation.keep_as("first");
    nation.release("2");
    nation.publish();
    let store = nation.trust_store("trust");
    nation.offer(&store).await.unwrap();
    let releases = store.releases(now()).await.unwrap();

    // Rolled back: the publication that knew version 1 alone.
    let error = offer(&store, first, now()).await.unwrap_err();
    assert!(matches!(error, UpdateError::Rollback(_)), "{error}");
    assert_eq!(store.releases(now()).await.unwrap(), releases);

    // Expired.
    let error = store.releases(after_days(91)).await.unwrap_err();
    assert!(matches!(error, UpdateError::Expired { .. }), "{error}");

    // Forged: other bytes under the signed name, then another digest in the signed list.
    let kernel = &releases[1].files[2];
    let path = nation.path("repository").join(kernel.path());
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[0] ^= 1;
    fs::write(&path, &bad).unwrap();
    let root = nation.authority.first_root().unwrap();
    let error = verify(&nation.path("repository"), &root, now()).await;
    assert!(
        matches!(
            &error,
            Err(Error::Repository(UpdateError::Tampered(file))) if file.contains("luxchat_2.efi")
        ),
        "{error:?}"
    );
    let folder = ReleaseFolder::new(nation.path("box-releases"));
    let source = DirectorySource::new(nation.path("repository"));
    let error = folder.fetch(&releases[1], &source, Naming::Plain).await;
    assert!(matches!(error, Err(UpdateError::Tampered(_))), "{error:?}");
    assert!(!folder.holds(&releases[1], Naming::Plain));

    let forged = luxchat_bundle::Fingerprint::of(&bad).to_string();
    let list = nation.path("repository/metadata/2.targets.json");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.replace(&kernel.digest.to_string(), &forged)).unwrap();
    let error = nation.offer(&nation.fresh_store()).await.unwrap_err();
    assert!(matches!(error, UpdateError::Tampered(_)), "{error}");
}

#[test]
fn what_is_no_release_is_not_taken_up() {
    let mut nation = Nation::new();
    let files = nation.build("2");
    let mut add = |files: &[PathBuf]| nation.authority.add_release(files, now());
    assert!(matches!(add(&files[..2]), Err(Error::Bundle(_))));
    let other = files[0].with_file_name("notes.txt");
    fs::write(&other, "no release").unwrap();
    assert!(matches!(add(&[other]), Err(Error::NotReleaseFile(_))));
    add(&files).unwrap();
    assert!(matches!(add(&files), Err(Error::ReleaseExists(_))));
    let older = nation.build("1");
    let error = nation.authority.add_release(&older, now()).unwrap_err();
    assert!(matches!(error, Error::OlderRelease { .. }), "{error}");
    let two: Vec<_> = nation
        .build("3")
        .into_iter()
        .chain(nation.build("4"))
        .collect();
    let error = nation.authority.add_release(&two, now()).unwrap_err();
    assert!(matches!(error, Error::OneRelease), "{error}");
    let nothing = "9".parse().unwrap();
    assert!(nation.authority.remove_release(&nothing, now()).is_err());
}
