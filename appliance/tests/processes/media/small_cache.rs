//! A cache stays within its cap whatever is asked for.

use anyhow::{Result, ensure};

use super::{contents, nation, noise};
use crate::boxes::{BoxProcess, agent};

/// What the cache may hold, in bytes.
const CAP: u64 = 10_000_000;

/// How large each file is, in bytes.
const FILE: usize = 1_000_000;

/// Ten times what the cache holds.
const FILES: u64 = 100;

/// Files that several people ask for at a time.
const AT_ONCE: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_stays_below_its_cap_under_ten_times_as_much() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nation = nation(folder.path(), &format!("cache_bytes = {CAP}"))?;
    let mut boxes = Vec::new();
    for name in ["directory", "interieur", "sante"] {
        let mut process = BoxProcess::new(&nation, folder.path(), name)?;
        process.start_and_wait().await?;
        boxes.push(process);
    }
    let alice = agent(&nation, "interieur", "alice").await?;
    let bob = agent(&nation, "sante", "bob").await?;
    for batch in 0..FILES / AT_ONCE {
        let mut downloads = Vec::new();
        for number in 0..AT_ONCE {
            let seed = batch * AT_ONCE + number;
            let uri = alice.upload("video/mp4", noise(seed, FILE)).await?;
            let bob = bob.clone();
            downloads.push(tokio::spawn(async move {
                let bytes = bob.download(&uri).await?;
                ensure!(bytes == noise(seed, FILE), "{uri} is not what it was");
                Ok(())
            }));
        }
        for download in downloads {
            download.await??;
        }
        let (files, bytes) = contents(&nation, "sante")?;
        ensure!(bytes <= CAP, "{bytes} bytes in {} files", files.len());
        ensure!(bytes > CAP / 2, "the cache keeps next to nothing: {bytes}");
    }
    let (files, _) = contents(&nation, "interieur")?;
    ensure!(
        files.len() as u64 == FILES,
        "uploads were evicted at home: {} are left",
        files.len()
    );
    Ok(())
}
