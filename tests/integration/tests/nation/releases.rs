//! Releases of a sealed box's operating system, fetched from the directory over mutual TLS.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use luxchat_bundle::{Naming, ReleaseFolder, TrustStore};
use luxchat_store::SystemClock;
use luxchat_testkit::Kit;

/// A piece and a half.
const ROOT_BYTES: usize = 1_500_000;

#[tokio::test]
async fn a_sealed_box_fetches_what_is_newer_than_what_it_runs() -> Result<()> {
    let mut kit = Kit::start().await?;
    let folder = tempfile::tempdir()?;
    let uuid = "0123abcd-0123-4567-89ab-0123456789ab";
    let files = [
        (format!("luxchat_2.0_{uuid}.root"), vec![1; ROOT_BYTES]),
        (format!("luxchat_2.0_{uuid}.verity"), vec![2; 10]),
        ("luxchat_2.0.efi".to_owned(), vec![3; 10]),
    ]
    .map(|(name, bytes)| (folder.path().join(name), bytes));
    for (path, bytes) in &files {
        std::fs::write(path, bytes)?;
    }
    let (nation, now) = (kit.nation(), Timestamp::now());
    let mut authority = nation.authority()?;
    authority.add_release(&files.clone().map(|(path, _)| path), now)?;
    authority.publish(&nation.publication(), nation.passphrase(), now)?;
    drop(authority);
    kit.running("directory")?.look_for_members().await?;
    kit.running("sante")?.look_for_members().await?;

    kit.stop_box("sante").await?;
    let mut site = kit.nation().site("sante")?.clone();
    site.config.release = Some("1.9".parse()?);
    let sante = site.start(Arc::new(SystemClock)).await?;
    let data = &site.config.data_dir;
    let trust = TrustStore::open(&data.join("trust"))?;
    let releases = trust.releases(now).await?;
    let release = releases.first().context("no release is published")?;
    let fetched = ReleaseFolder::new(data.join("releases/targets"));
    let here = async {
        while !fetched.holds(release, Naming::Digest) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), here)
        .await
        .context("the release was not fetched")?;
    let root = std::fs::read(fetched.path().join(release.files[0].file_name()))?;
    ensure!(root == vec![1; ROOT_BYTES], "it came out different");
    ensure!(sante.stop().await);

    // A box that runs it has no use for it any more.
    site.config.release = Some("2.0".parse()?);
    let sante = site.start(Arc::new(SystemClock)).await?;
    let gone = async {
        while fetched.holds(release, Naming::Digest) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .context("what was fetched is still there")?;
    ensure!(sante.stop().await);
    Ok(())
}
