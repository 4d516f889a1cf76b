//! Two ministries, each a process of its own, are killed with SIGKILL again and again while people write, in rooms of one
//! ministry and in one that both share, and while one-time keys are handed out. In the end nothing that was acknowledged
//! is missing, doubled or in another place, and no key was handed out twice.

mod keys;
mod readers;
mod senders;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use luxchat_appliance::nation::{Nation, Plan};
use luxchat_store::SystemClock;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use self::{
    keys::Keys,
    readers::Reader,
    senders::{Rooms, Senders},
};
use crate::{
    boxes::{BoxProcess, MINISTRIES, SITE_LINES},
    retry,
};

/// Decides when who is killed. `LUXCHAT_CRASH_SEED` sets another one.
const SEED: u64 = 0x4c75_7863_6861_7421;

/// How often each of the two ministries is killed.
const KILLS: u32 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_loses_doubles_and_reorders_nothing() {
    let seed = std::env::var("LUXCHAT_CRASH_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    if let Err(error) = crash_again_and_again(seed).await {
        panic!("with LUXCHAT_CRASH_SEED={seed}: {error:#}");
    }
}

async fn crash_again_and_again(seed: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let plan = Plan {
        site_lines: SITE_LINES.to_owned(),
        ..Plan::default()
    };
    let nation = Nation::open_or_found(&folder.path().join("nation"), &plan, &SystemClock)?;
    let mut directory = BoxProcess::new(&nation, folder.path(), "directory")?;
    directory.start_and_wait().await?;
    let mut ministries = Vec::new();
    for name in MINISTRIES {
        let mut ministry = BoxProcess::new(&nation, folder.path(), name)?;
        ministry.start_and_wait().await?;
        ministries.push(ministry);
    }
    let outcome = kill_under_load(&nation, &mut ministries, seed).await;
    outcome.with_context(|| {
        let logs = ministries.iter().map(BoxProcess::last_words);
        format!("the boxes' last words:\n{}", logs.collect::<String>())
    })
}

async fn kill_under_load(nation: &Nation, ministries: &mut [BoxProcess], seed: u64) -> Result<()> {
    let rooms = Rooms::found(nation).await?;
    let stop = CancellationToken::new();
    let senders = Senders::start(nation, &rooms, &stop).await?;
    let keys = Keys::start(nation, &stop).await?;
    let readers = Reader::start_all(nation, &rooms, &stop).await?;

    let began = Instant::now();
    let [one, other] = [0, 1].map(|number| StdRng::seed_from_u64(seed.wrapping_add(number)));
    let (first, rest) = ministries.split_first_mut().context("two ministries")?;
    let second = rest.first_mut().context("two ministries")?;
    tokio::try_join!(kill_repeatedly(first, one), kill_repeatedly(second, other))?;
    let killed = began.elapsed();

    stop.cancel();
    let sent = senders.finish().await?;
    let handed_out = keys.finish().await?;
    readers::verify(&sent, readers).await?;
    for ministry in ministries.iter() {
        ministry.assert_checked_after_crashes()?;
    }
    ensure!(retry::lost() > 50, "the kills hit hardly any request");
    eprintln!(
        "{} kills in {killed:?} broke off {} requests; {} messages acknowledged, {handed_out} one-time keys handed out; \
         verified after {:?}",
        KILLS * 2,
        retry::lost(),
        sent.len(),
        began.elapsed(),
    );
    Ok(())
}

/// Kills a box at random moments: mostly while it serves, now and then while it still starts.
async fn kill_repeatedly(ministry: &mut BoxProcess, mut random: StdRng) -> Result<()> {
    for _ in 0..KILLS {
        let moment = Duration::from_millis(random.random_range(0..1_000));
        if random.random_ratio(1, 5) {
            tokio::time::sleep(moment / 10).await;
        } else {
            ministry.wait_until_ready().await?;
            tokio::time::sleep(moment).await;
        }
        ministry.kill().await?;
        ministry.start()?;
    }
    ministry.wait_until_ready().await?;
    ensure!(ministry.kills() == KILLS, "every kill met a living process");
    Ok(())
}
