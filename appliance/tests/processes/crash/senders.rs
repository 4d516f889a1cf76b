//! People who write all the time, and try again with the same transaction id when the connection is lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use luxchat_appliance::nation::{Client, Nation};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    boxes::{MINISTRIES, agent},
    retry::until_answered,
};

/// Who writes at the same time, in each ministry and room.
const SENDERS: usize = 2;

/// Between two messages of one person, so that a test on a small machine does not drown in them.
const PAUSE: Duration = Duration::from_millis(5);

/// Where people write.
#[derive(Debug)]
pub(crate) struct Rooms {
    /// One for each ministry, with its own people only.
    pub(crate) local: Vec<String>,
    /// One with people of all ministries.
    pub(crate) shared: String,
}

impl Rooms {
    pub(crate) async fn found(nation: &Nation) -> Result<Self> {
        let public = json!({ "preset": "public_chat" });
        let mut local = Vec::new();
        for ministry in MINISTRIES {
            let founder = agent(nation, ministry, "founder").await?;
            local.push(founder.create_room(&public).await?);
        }
        let founder = agent(nation, MINISTRIES[0], "founder-of-all").await?;
        let shared = founder.create_room(&public).await?;
        Ok(Self { local, shared })
    }
}

/// What a person sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) room: String,
    pub(crate) user_id: String,
    /// The events that were acknowledged, in that order.
    pub(crate) event_ids: Vec<String>,
}

/// Everything that was sent.
#[derive(Debug)]
pub(crate) struct AllSent(Vec<Sent>);

impl AllSent {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.0.iter()
    }

    pub(crate) fn to_room(&self, room: &str) -> impl Iterator<Item = &Sent> {
        self.0.iter().filter(move |sent| sent.room == room)
    }

    /// How many messages.
    pub(crate) fn len(&self) -> usize {
        self.iter().map(|sent| sent.event_ids.len()).sum()
    }
}

/// People at work.
#[derive(Debug)]
pub(crate) struct Senders(JoinSet<Result<Sent>>);

impl Senders {
    /// Everybody is in the room when this returns.
    pub(crate) async fn start(
        nation: &Nation,
        rooms: &Rooms,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let mut people = Vec::new();
        for (number, ministry) in MINISTRIES.into_iter().enumerate() {
            for (kind, room) in [("local", &rooms.local[number]), ("shared", &rooms.shared)] {
                for sender in 0..SENDERS {
                    let client = agent(nation, ministry, &format!("{kind}{sender}")).await?;
                    let via = format!("{}.demo.lu", MINISTRIES[0]);
                    client.join(room, &[&via]).await?;
                    people.push((room.clone(), client));
                }
            }
        }
        let mut tasks = JoinSet::new();
        for (room, client) in people {
            tasks.spawn(write(client, room, stop.clone()));
        }
        Ok(Self(tasks))
    }

    /// What everybody sent. Nobody may have been turned away.
    pub(crate) async fn finish(self) -> Result<AllSent> {
        let sent = self.0.join_all().await;
        let sent = AllSent(sent.into_iter().collect::<Result<_>>()?);
        for person in sent.iter() {
            ensure!(person.event_ids.len() > 20, "hardly any work: {person:?}");
        }
        Ok(sent)
    }
}

async fn write(client: Client, room: String, stop: CancellationToken) -> Result<Sent> {
    let mut event_ids = Vec::new();
    while !stop.is_cancelled() {
        let number = event_ids.len();
        let (txn_id, body) = (format!("t{number}"), format!("message {number}"));
        let send = || client.send_text(&room, &txn_id, &body);
        let what = format!("{} sends {txn_id}", client.user_id);
        event_ids.push(until_answered(&what, send).await?);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Sent {
        room,
        user_id: client.user_id,
        event_ids,
    })
}
