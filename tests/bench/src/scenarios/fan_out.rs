//! How soon syncing members see a message.
//!
//! Each receiver long-polls on a connection of its own. The sender sends the next message when all have the last one, so
//! that the figure is the delivery itself and not the length of a queue.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Deserialize;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Run, room_of};
use crate::{
    client::{Client, Synced},
    connection::Failure,
    drive::Record,
};

const LONG_POLL_MS: u32 = 30_000;
/// A message that has not reached everybody by then counts as lost.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
const MESSAGES: u64 = 1000;
const WARM_UP_MESSAGES: u64 = 3;
/// The text of a probe is this and its number.
const PROBE: &str = "probe ";

/// The sight of a probe by one receiver.
pub(crate) struct Sighting {
    probe: u64,
    at: Instant,
}

impl Run<'_, '_> {
    pub(super) async fn fan_out(&mut self) -> Result<()> {
        for level in self.plan.fan_out.clone() {
            let mut clients = self.accounts.clients(level + 1).await?;
            let room_id = room_of(&mut clients, "Fan-out").await?;
            let mut receivers = clients.split_off(1);
            let Some(sender) = clients.pop() else {
                continue;
            };

            let mut since = Vec::with_capacity(level);
            for receiver in &mut receivers {
                since.push(receiver.sync(None, 0).await?.next_batch);
            }
            // Room for every sighting of two probes: nobody waits, and a stalled sender holds back the rest.
            let (seen, sightings) = mpsc::channel(level * 2);
            // Dropped at the end of the level, which ends the long polls under way.
            let mut polls = JoinSet::new();
            for (receiver, since) in receivers.into_iter().zip(since) {
                polls.spawn(poll(receiver, since, room_id.clone(), seen.clone()));
            }

            let mut deliveries = Deliveries {
                sender,
                room_id,
                receivers: level,
                sightings,
            };
            deliveries.run(0..WARM_UP_MESSAGES, Duration::MAX).await;
            let start = self.report.start()?;
            let probes = WARM_UP_MESSAGES..WARM_UP_MESSAGES + MESSAGES;
            let record = deliveries.run(probes, self.plan.time).await;
            self.report
                .finish(&start, "fan-out", level, &record, None)?;
        }
        Ok(())
    }
}

/// Probes from one user of a room to others.
pub(crate) struct Deliveries {
    pub(crate) sender: Client,
    pub(crate) room_id: String,
    /// How many are to see each probe.
    pub(crate) receivers: usize,
    pub(crate) sightings: mpsc::Receiver<Sighting>,
}

impl Deliveries {
    /// Sends these probes one after the other, as many of them as the time allows, and records when each receiver saw
    /// them.
    pub(crate) async fn run(&mut self, probes: Range<u64>, time: Duration) -> Record {
        let begun = Instant::now();
        let mut record = Record::new();
        for probe in probes {
            if begun.elapsed() >= time {
                break;
            }
            self.deliver(probe, &mut record).await;
        }
        record.elapsed = begun.elapsed();
        record
    }

    async fn deliver(&mut self, probe: u64, record: &mut Record) {
        let sent = Instant::now();
        let collect = async {
            let mut missing = self.receivers;
            while missing > 0 {
                let Some(sighting) = self.sightings.recv().await else {
                    break;
                };
                if sighting.probe == probe {
                    record.success(sighting.at - sent);
                    missing -= 1;
                }
            }
        };
        let (room_id, text) = (&self.room_id, format!("{PROBE}{probe}"));
        // Collected beside the send: a receiver may well see the message before its sender has the answer.
        let (sending, collected) = futures_util::future::join(
            self.sender
                .send(room_id, &format!("{room_id}-{probe}"), &text),
            tokio::time::timeout(DELIVERY_TIMEOUT, collect),
        )
        .await;
        if let Err(failure) = sending {
            record.failure(&failure);
        } else if collected.is_err() {
            record.failure(&Failure::Incomplete(
                "a sync that carries the message to everybody",
            ));
        }
    }
}

/// Syncs for as long as somebody listens.
pub(crate) async fn poll(
    mut receiver: Client,
    mut since: String,
    room_id: String,
    seen: mpsc::Sender<Sighting>,
) {
    // A receiver whose sync fails ends, and the missing sightings show in the errors.
    while let Ok(synced) = receiver.sync(Some(&since), LONG_POLL_MS).await {
        let at = Instant::now();
        for probe in probes(&synced, &room_id) {
            if seen.send(Sighting { probe, at }).await.is_err() {
                return;
            }
        }
        since = synced.next_batch;
    }
}

#[derive(Deserialize)]
struct SyncBody {
    #[serde(default)]
    rooms: Rooms,
}

#[derive(Default, Deserialize)]
struct Rooms {
    #[serde(default)]
    join: BTreeMap<String, JoinedRoom>,
}

#[derive(Deserialize)]
struct JoinedRoom {
    #[serde(default)]
    timeline: Timeline,
}

#[derive(Default, Deserialize)]
struct Timeline {
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    content: Content,
}

#[derive(Default, Deserialize)]
struct Content {
    body: Option<String>,
}

fn probes(synced: &Synced, room_id: &str) -> Vec<u64> {
    let Ok(body) = serde_json::from_slice::<SyncBody>(&synced.body) else {
        return Vec::new();
    };
    let events = body
        .rooms
        .join
        .get(room_id)
        .map_or(&[][..], |room| &room.timeline.events);
    events
        .iter()
        .filter_map(|event| {
            event
                .content
                .body
                .as_deref()?
                .strip_prefix(PROBE)?
                .parse()
                .ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn finds_probes_in_their_room_only() {
        let body = serde_json::json!({
            "next_batch": "n",
            "rooms": { "join": {
                "!a:x": { "timeline": { "events": [
                    { "type": "m.room.member", "content": { "membership": "join" } },
                    { "type": "m.room.message", "content": { "body": "probe 7" } },
                ] } },
                "!b:x": { "timeline": { "events": [{ "content": { "body": "probe 8" } }] } },
            } },
        });
        let body = Bytes::from(serde_json::to_vec(&body).unwrap());
        let synced = Synced {
            next_batch: "n".to_owned(),
            body,
        };
        assert_eq!(probes(&synced, "!a:x"), [7]);
        assert!(probes(&synced, "!c:x").is_empty());
    }
}
