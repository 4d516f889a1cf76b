//! A box whose disk is full: writes are refused with a clear error, reads go on, and once there is room it goes on by itself.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use luxchat_appliance::nation::{Client, Nation, Plan, messages};
use luxchat_store::SystemClock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::boxes::{BoxProcess, SITE_LINES, agent};

/// Of the small disk, and how much of it is in use by something else at first. In MiB.
const DISK: u32 = 24;
const BALLAST: u32 = 12;

/// How many messages of a length are tried at most.
const MORE_THAN_FITS: usize = 2_000;

/// After so many refusals in a row the disk counts as full.
const REFUSALS: usize = 20;

/// How long the box may take to notice that there is room again.
const RECOVERY_TIME: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_full_disk_refuses_writes_serves_reads_and_heals_by_itself() -> Result<()> {
    if !may_mount() {
        // Not through `eprintln`, which the test harness hides.
        let reason = "SKIPPED: full_disk: this machine lets nobody mount a disk of their own";
        return Ok(writeln!(std::io::stderr(), "{reason}")?);
    }
    let folder = tempfile::tempdir()?;
    let plan = Plan {
        site_lines: format!("{SITE_LINES}\n[media]\nfree_bytes = 0\n"),
        ..Plan::default()
    };
    let nation = Nation::open_or_found(&folder.path().join("nation"), &plan, &SystemClock)?;
    let mut interieur = BoxProcess::new(&nation, folder.path(), "interieur")?;
    interieur.start_and_wait().await?;
    let alice = agent(&nation, "interieur", "alice").await?;
    let room = alice
        .create_room(&json!({ "preset": "private_chat" }))
        .await?;
    interieur.kill().await?;
    interieur.start_on_small_disk(DISK, BALLAST)?;
    interieur.wait_until_ready().await?;

    // A file that does not fit leaves nothing: others still do.
    let picture = vec![7; 100_000];
    let uploaded = alice.upload("image/png", picture.clone()).await?;
    for _ in 0..3 {
        let large = vec![8; (DISK - BALLAST) as usize * 1024 * 1024];
        assert_no_room(alice.upload("image/png", large).await)?;
    }

    // First until nothing large fits, then until nothing at all does.
    let mut sent = Vec::new();
    for length in [50_000, 1] {
        fill(&alice, &room, length, &mut sent).await?;
    }
    ensure!(sent.len() > 10, "only {} messages fitted", sent.len());
    // It is the same for every kind of write.
    let new_room = "/_matrix/client/v3/createRoom";
    refused(&alice, Method::POST, new_room, &json!({})).await?;
    let account_data = format!(
        "/_matrix/client/v3/user/{}/account_data/lu.test",
        alice.user_id
    );
    let large = json!({ "text": "x".repeat(50_000) });
    refused(&alice, Method::PUT, &account_data, &large).await?;
    assert_no_room(alice.upload("image/png", vec![9; 100_000]).await)?;
    ensure!(alice.download(&uploaded).await? == picture);
    // Reads see all that was acknowledged, and nothing else.
    assert_eq!(event_ids(&alice, &room).await?, sent);
    let sync = alice.sync(None, Duration::ZERO).await?;
    ensure!(messages(&sync, &room).count() > 0, "{sync}");

    interieur.drop_ballast().await?;
    let began = Instant::now();
    let after = loop {
        match send(&alice, &room, sent.len(), 50_000).await {
            Ok(event_id) => break event_id,
            Err(error) => ensure!(began.elapsed() < RECOVERY_TIME, "still refused: {error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let late = alice.upload("image/png", vec![9; 100_000]).await?;
    ensure!(alice.download(&late).await? == vec![9; 100_000]);
    let all: Vec<String> = sent.into_iter().chain([after]).collect();
    assert_eq!(event_ids(&alice, &room).await?, all);
    let log = interieur.log()?;
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// Whether this user may have a mount of their own here.
fn may_mount() -> bool {
    let script = "mount -t tmpfs tmpfs /mnt";
    Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Sends messages until the disk is full for good, and notes those that were acknowledged. A refusal or two may leave room
/// for one more, when what was already written is put in order.
async fn fill(client: &Client, room: &str, length: usize, sent: &mut Vec<String>) -> Result<()> {
    let mut refusals = 0;
    for _ in 0..MORE_THAN_FITS {
        match send(client, room, sent.len(), length).await {
            Ok(event_id) => {
                sent.push(event_id);
                refusals = 0;
            }
            Err(error) => {
                assert_clear(&error)?;
                refusals += 1;
            }
        }
        if refusals == REFUSALS {
            return Ok(());
        }
    }
    anyhow::bail!("{MORE_THAN_FITS} messages fitted onto a disk of {DISK} MiB")
}

async fn send(client: &Client, room: &str, number: usize, length: usize) -> Result<String> {
    let text = format!("{number} {}", "x".repeat(length));
    client.send_text(room, &format!("t{number}"), &text).await
}

async fn refused(client: &Client, method: Method, path: &str, body: &Value) -> Result<()> {
    let answer = client.call(method, path, Some(body)).await;
    let error = answer
        .err()
        .ok_or_else(|| anyhow::anyhow!("{path} was written"))?;
    assert_clear(&error)
}

fn assert_clear(error: &anyhow::Error) -> Result<()> {
    let text = error.to_string();
    let clear = ["507", "M_RESOURCE_LIMIT_EXCEEDED", "disk is full"];
    ensure!(clear.iter().all(|part| text.contains(part)), "{error:#}");
    Ok(())
}

fn assert_no_room(upload: Result<String>) -> Result<()> {
    let error = upload.err().context("a file was taken")?;
    ensure!(error.to_string().contains("507"), "{error:#}");
    Ok(())
}

/// The messages of a room, oldest first.
async fn event_ids(client: &Client, room: &str) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    let mut from = String::new();
    loop {
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=f&limit=100{from}");
        let page = client.call(Method::GET, &path, None).await?;
        let events = page["chunk"].as_array().into_iter().flatten();
        let sent = events.filter(|event| event["type"] == "m.room.message");
        ids.extend(sent.filter_map(|event| event["event_id"].as_str().map(ToOwned::to_owned)));
        let Some(end) = page["end"].as_str() else {
            return Ok(ids);
        };
        from = format!("&from={end}");
    }
}
