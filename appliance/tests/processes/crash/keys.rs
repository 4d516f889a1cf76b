//! A device that publishes one-time keys, and people of both ministries who claim them.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context, Result, ensure};
use luxchat_appliance::nation::{Client, Nation};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    boxes::{MINISTRIES, agent},
    retry::{attempt, until_answered},
};

const ALGORITHM: &str = "signed_curve25519";

/// Keys that the device keeps published. So few that a batch may be gone before it is uploaded again.
const WANTED: u64 = 10;

/// Between two claims of one person, and two looks of the device.
const PAUSE: Duration = Duration::from_millis(10);

/// Keys being published and claimed.
#[derive(Debug)]
pub(crate) struct Keys {
    publisher: JoinHandle<Result<Published>>,
    claimers: JoinSet<Result<Vec<String>>>,
}

#[derive(Debug)]
struct Published {
    /// All the keys there ever were.
    made: usize,
    /// How many the server says are left.
    left: usize,
}

impl Keys {
    pub(crate) async fn start(nation: &Nation, stop: &CancellationToken) -> Result<Self> {
        let owner = agent(nation, MINISTRIES[0], "owner").await?;
        let claim = json!({
            "one_time_keys": { &owner.user_id: { &owner.device_id: ALGORITHM } },
            "timeout": 5_000,
        });
        let mut claimers = JoinSet::new();
        for ministry in MINISTRIES {
            for name in ["claimer1", "claimer2"] {
                let claimer = agent(nation, ministry, name).await?;
                claimers.spawn(claim_keys(claimer, claim.clone(), stop.clone()));
            }
        }
        let publisher = tokio::spawn(publish_keys(owner, stop.clone()));
        Ok(Self {
            publisher,
            claimers,
        })
    }

    /// How many keys reached those who claimed them: each only once.
    pub(crate) async fn finish(self) -> Result<usize> {
        let claimed = self.claimers.join_all().await;
        let published = self.publisher.await??;
        let mut seen = HashSet::new();
        for keys in claimed {
            let keys = keys?;
            ensure!(keys.len() > 10, "one claimer got only {} keys", keys.len());
            for key in keys {
                ensure!(!seen.contains(&key), "handed out twice: {key}");
                seen.insert(key);
            }
        }
        // Some were handed out and lost on their way; none can have been claimed and still be there.
        ensure!(
            seen.len() + published.left <= published.made,
            "{} claimed, and {published:?}",
            seen.len()
        );
        Ok(seen.len())
    }
}

/// Publishes new keys whenever there are few. An upload that is not acknowledged is made again with the same keys, and so is
/// each that is: the device may have been switched off before it had noted the answer.
async fn publish_keys(owner: Client, stop: CancellationToken) -> Result<Published> {
    let mut made = 0;
    let mut left = 0;
    while !stop.is_cancelled() {
        let missing = WANTED.saturating_sub(left);
        let keys: Map<String, Value> = (0..missing)
            .map(|number| one_time_key(&owner, made + usize::try_from(number).unwrap()))
            .collect();
        made += keys.len();
        for keys in [keys.clone(), keys] {
            left = upload(&owner, keys).await?;
            tokio::time::sleep(PAUSE).await;
        }
    }
    let left = upload(&owner, Map::new()).await?;
    Ok(Published {
        made,
        left: usize::try_from(left)?,
    })
}

/// Answers how many keys the device has now.
async fn upload(owner: &Client, keys: Map<String, Value>) -> Result<u64> {
    let body = json!({ "one_time_keys": keys });
    let path = "/_matrix/client/v3/keys/upload";
    let publish = || owner.call(Method::POST, path, Some(&body));
    let answer = until_answered("publish keys", publish).await?;
    // An algorithm without keys may be left out.
    Ok(answer["one_time_key_counts"][ALGORITHM]
        .as_u64()
        .unwrap_or(0))
}

fn one_time_key(owner: &Client, number: usize) -> (String, Value) {
    // What it is the owner's client would know; to the server it is a name for one key.
    let signer = format!("ed25519:{}", owner.device_id);
    let key = json!({
        "key": format!("{number:043}"),
        "signatures": { &owner.user_id: { signer: "A".repeat(86) } },
    });
    (format!("{ALGORITHM}:K{number}"), key)
}

/// Claims key after key. A claim whose answer is lost is lost with its key.
async fn claim_keys(client: Client, claim: Value, stop: CancellationToken) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    while !stop.is_cancelled() {
        let path = "/_matrix/client/v3/keys/claim";
        let what = format!("{} claims a key", client.user_id);
        let claimed = attempt(&what, client.call(Method::POST, path, Some(&claim))).await?;
        if let Some(answer) = claimed {
            keys.extend(claimed_keys(&answer)?);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(keys)
}

/// The keys in an answer; none where the other ministry is down or there was none left.
fn claimed_keys(answer: &Value) -> Result<Vec<String>> {
    let devices = answer["one_time_keys"]
        .as_object()
        .into_iter()
        .flat_map(|users| users.values())
        .filter_map(Value::as_object)
        .flat_map(|devices| devices.values());
    devices
        .filter_map(Value::as_object)
        .flat_map(|keys| keys.values())
        .map(|key| {
            let key = key["key"].as_str().context("a key without its key")?;
            Ok(key.to_owned())
        })
        .collect()
}
