//! SIGKILL while files are uploaded: what was acknowledged is there, and nothing else is left.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use luxchat_admin_api::MediaSummary;
use luxchat_appliance::{
    nation::{Client, Nation},
    operator::Operator,
};
use reqwest::Method;

use super::{contents, nation, noise};
use crate::boxes::{BoxProcess, agent};

const UPLOADS: u64 = 100;

/// How large each file is, in bytes.
const FILE: usize = 400_000;

const KILLS: u64 = 3;

/// How long a wait may take: for the first file, or for a sweep.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_died_leave_nothing_and_the_others_are_whole() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nation = nation(folder.path(), "")?;
    let mut interieur = BoxProcess::new(&nation, folder.path(), "interieur")?;
    interieur.start_and_wait().await?;
    let alice = agent(&nation, "interieur", "alice").await?;
    let mut acknowledged = Vec::new();
    for kill in 0..KILLS {
        let before = contents(&nation, "interieur")?.0.len();
        let uploads = (kill * UPLOADS..(kill + 1) * UPLOADS).map(|seed| {
            let alice = alice.clone();
            tokio::spawn(async move {
                let uri = alice.upload("video/mp4", noise(seed, FILE)).await;
                uri.map(|uri| (uri, seed))
            })
        });
        let uploads: Vec<_> = uploads.collect();
        // When the first are there, others are being written.
        let began = Instant::now();
        while contents(&nation, "interieur")?.0.len() < before + 10 {
            ensure!(began.elapsed() < PATIENCE, "no file arrives");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        interieur.kill().await?;
        for upload in join_all(uploads).await {
            acknowledged.extend(upload?.ok());
        }
        leave_an_orphan(&nation)?;
        interieur.start_and_wait().await?;
    }
    let all = usize::try_from(KILLS * UPLOADS)?;
    ensure!(acknowledged.len() < all, "the kills hit no upload");

    let began = Instant::now();
    let files = loop {
        let files = listed(&nation, &alice).await?;
        let hashes: BTreeSet<_> = files.iter().map(|file| file.sha256.clone()).collect();
        let (on_disk, _) = contents(&nation, "interieur")?;
        if on_disk.into_iter().collect::<BTreeSet<_>>() == hashes {
            break files;
        }
        ensure!(began.elapsed() < PATIENCE, "the folder is never swept");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for (uri, seed) in &acknowledged {
        let bytes = alice.download(uri).await.context(uri.clone())?;
        ensure!(bytes == noise(*seed, FILE), "{uri} is not what it was");
    }
    // Those that were stored, but whose answers were lost, are whole as well.
    ensure!(files.len() >= acknowledged.len());
    for file in &files {
        let bytes = alice.download(&file.uri).await?;
        ensure!(bytes.len() == FILE, "{} is broken", file.uri);
    }
    eprintln!(
        "{KILLS} kills during {all} uploads: {} acknowledged, {} stored",
        acknowledged.len(),
        files.len()
    );
    Ok(())
}

/// A file such as one that was put in its place just before the box died: without a row.
fn leave_an_orphan(nation: &Nation) -> Result<()> {
    let media = nation.site("interieur")?.config.data_dir.join("media");
    let folder = media.join("ab").join("cd");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("e".repeat(60)), b"an orphan")?;
    std::fs::write(media.join("scratch").join("half"), b"in the making")?;
    Ok(())
}

/// What the box says that Alice has uploaded.
async fn listed(nation: &Nation, alice: &Client) -> Result<Vec<MediaSummary>> {
    let socket = nation.site("interieur")?.config.data_dir.join("admin.sock");
    let path = format!("/users/{}/media", alice.user_id);
    Operator::new(socket)?
        .call(Method::GET, &path, None::<&()>)
        .await
}
