//! People who read along while it happens, and what must be in the timelines in the end.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use luxchat_appliance::nation::{Client, Nation, messages};
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::senders::{AllSent, Rooms, Sent};
use crate::{
    boxes::{MINISTRIES, agent},
    retry::until_answered,
};

/// How long it may take after the last crash until the last message has arrived.
const CATCH_UP_TIME: Duration = Duration::from_mins(2);

/// One event of a timeline.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    event_id: String,
    sender: String,
}

/// Somebody who syncs in one ministry, in one room.
#[derive(Debug)]
pub(crate) struct Reader {
    client: Client,
    room: String,
    seen: JoinHandle<Result<Vec<String>>>,
}

impl Reader {
    /// One for each ministry and room: first its own room, then the shared one.
    pub(crate) async fn start_all(
        nation: &Nation,
        rooms: &Rooms,
        stop: &CancellationToken,
    ) -> Result<Vec<[Self; 2]>> {
        let mut readers = Vec::new();
        for (ministry, local) in MINISTRIES.into_iter().zip(&rooms.local) {
            let start = async |name: &str, room: &String| {
                let client = agent(nation, ministry, name).await?;
                let via = format!("{}.demo.lu", MINISTRIES[0]);
                client.join(room, &[&via]).await?;
                let seen = tokio::spawn(read_along(client.clone(), room.clone(), stop.clone()));
                anyhow::Ok(Self {
                    client,
                    room: room.clone(),
                    seen,
                })
            };
            readers.push([
                start("reader-of-own", local).await?,
                start("reader-of-all", &rooms.shared).await?,
            ]);
        }
        Ok(readers)
    }

    async fn verify(self, sent: &AllSent) -> Result<Vec<Message>> {
        let reader = self.client.user_id.clone();
        let timeline = self.complete_timeline(sent).await?;
        for person in sent.to_room(&self.room) {
            let place = || format!("{} in the eyes of {reader}", person.user_id);
            check_person(person, &timeline).with_context(place)?;
        }
        let seen = self.seen.await??;
        ensure!(!seen.is_empty(), "{reader} saw nothing");
        let order: Vec<&str> = timeline.iter().map(|m| m.event_id.as_str()).collect();
        check_order(&seen, &order).context(reader)?;
        Ok(timeline)
    }

    /// The whole room as this server has it, once everything that was sent is there.
    async fn complete_timeline(&self, sent: &AllSent) -> Result<Vec<Message>> {
        let began = Instant::now();
        loop {
            let timeline = self.timeline().await?;
            let there: HashSet<&str> = timeline.iter().map(|m| m.event_id.as_str()).collect();
            let mut acknowledged = sent.to_room(&self.room).flat_map(|s| &s.event_ids);
            let Some(missing) = acknowledged.find(|id| !there.contains(id.as_str())) else {
                return Ok(timeline);
            };
            ensure!(
                began.elapsed() < CATCH_UP_TIME,
                "{}: {missing} has not arrived; {} have",
                self.client.user_id,
                there.len()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn timeline(&self) -> Result<Vec<Message>> {
        let mut timeline = Vec::new();
        let mut from = String::new();
        loop {
            let path = format!(
                "/_matrix/client/v3/rooms/{}/messages?dir=f&limit=500{from}",
                self.room
            );
            let page = self.client.call(Method::GET, &path, None).await?;
            let events = page["chunk"].as_array().context("a page has a chunk")?;
            let sent = events.iter().filter(|e| e["type"] == "m.room.message");
            timeline.extend(sent.map(message));
            let Some(end) = page["end"].as_str() else {
                return Ok(timeline);
            };
            from = format!("&from={end}");
        }
    }
}

/// In every timeline each person's messages are those that were acknowledged, once each and in that order; whoever read
/// along saw them in the same order; and what one ministry sent stands in the same order everywhere.
pub(crate) async fn verify(sent: &AllSent, readers: Vec<[Reader; 2]>) -> Result<()> {
    let mut shared = Vec::new();
    for [of_own, of_all] in readers {
        of_own.verify(sent).await?;
        shared.push(of_all.verify(sent).await?);
    }
    for ministry in MINISTRIES {
        let suffix = format!(":{ministry}.demo.lu");
        let mut orders = shared.iter().map(|timeline| -> Vec<&str> {
            let theirs = timeline.iter().filter(|m| m.sender.ends_with(&suffix));
            theirs.map(|message| message.event_id.as_str()).collect()
        });
        let one = orders.next().context("a timeline for each ministry")?;
        ensure!(
            orders.all(|other| other == one),
            "the messages of {ministry} stand in different orders"
        );
    }
    Ok(())
}

fn check_person(person: &Sent, timeline: &[Message]) -> Result<()> {
    let theirs: Vec<&String> = timeline
        .iter()
        .filter(|message| message.sender == person.user_id)
        .map(|message| &message.event_id)
        .collect();
    let unique: HashSet<&&String> = theirs.iter().collect();
    ensure!(unique.len() == theirs.len(), "an event is there twice");
    ensure!(
        theirs.len() == person.event_ids.len(),
        "{} events for {} transactions",
        theirs.len(),
        person.event_ids.len()
    );
    let acknowledged = person.event_ids.iter();
    if let Some(place) = acknowledged
        .zip(theirs)
        .position(|(one, other)| one != other)
    {
        bail!("message {place} is not where it was acknowledged");
    }
    Ok(())
}

/// What was seen live stands in the timeline in the same order, once.
fn check_order(seen: &[String], timeline: &[&str]) -> Result<()> {
    let mut rest = timeline.iter();
    for event_id in seen {
        ensure!(
            rest.any(|other| other == event_id),
            "{event_id} was seen twice, or in another place than it stands now"
        );
    }
    Ok(())
}

/// Syncs from where the last answer left off, and notes what comes.
async fn read_along(client: Client, room: String, stop: CancellationToken) -> Result<Vec<String>> {
    let mut since: Option<String> = None;
    let mut seen = Vec::new();
    while !stop.is_cancelled() {
        let sync = || client.sync(since.as_deref(), Duration::from_secs(1));
        let what = format!("{} syncs since {since:?}", client.user_id);
        let answer = until_answered(&what, sync).await?;
        seen.extend(messages(&answer, &room).map(|event| message(event).event_id));
        let next = answer["next_batch"].as_str();
        since = Some(next.context("a sync says where it stands")?.to_owned());
    }
    Ok(seen)
}

fn message(event: &Value) -> Message {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    Message {
        event_id: text("event_id"),
        sender: text("sender"),
    }
}
