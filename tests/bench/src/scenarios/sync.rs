//! Syncs of an account that is in many rooms.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Run;
use crate::{
    client::{Client, Session, Synced},
    connection::Failure,
    drive::{Bounds, Record, drive},
};

const ACCOUNT: &str = "sync";
/// Who creates the rooms and writes in them, side by side.
const WRITERS: usize = 4;
const WARM_UP_SYNCS: u64 = 2;
const INCREMENTAL_SYNCS: usize = 200;
/// The news is there before the sync asks; this only guards against a server that commits late.
const INCREMENTAL_TIMEOUT_MS: u32 = 10_000;

/// An account in many rooms, and those who write to it.
pub(super) struct SyncAccount {
    session: Session,
    writers: Vec<Writer>,
}

struct Writer {
    client: Client,
    rooms: Vec<String>,
    sent: usize,
}

impl SyncAccount {
    pub(super) fn session(&self) -> Session {
        self.session.clone()
    }
}

impl Writer {
    /// Sends a message to the next of the writer's rooms.
    async fn send(&mut self) -> Result<(), Failure> {
        let room_id = &self.rooms[self.sent % self.rooms.len()];
        self.sent += 1;
        self.client
            .send(room_id, &format!("sync-{}", self.sent), "Something to sync")
            .await
    }
}

impl Run<'_, '_> {
    pub(super) async fn initial_sync(&mut self) -> Result<()> {
        self.prepare_sync_account().await?;
        // Every sync is that of a new device: a server may remember what it answered an old one.
        let syncs = WARM_UP_SYNCS + self.plan.initial_syncs;
        let mut devices = Vec::new();
        for _ in 0..syncs {
            let mut connections = self.accounts.connections(1);
            let session = self.accounts.log_in(&mut connections[0], ACCOUNT).await?;
            devices.push(self.accounts.client(session));
        }
        let mut devices = devices.into_iter();
        let mut bytes = 0;
        for mut device in devices.by_ref().take(usize::try_from(WARM_UP_SYNCS)?) {
            let synced = device.sync(None, 0).await?;
            anyhow::ensure!(
                joined_rooms(&synced)? == self.plan.sync_rooms,
                "the sync does not carry all rooms"
            );
            bytes = synced.body.len();
        }

        let bounds = Bounds {
            time: self.plan.time * 3,
            operations_per_worker: self.plan.initial_syncs,
        };
        let start = self.report.start()?;
        let record = drive(&mut [devices], bounds, async |devices| {
            let mut device = devices
                .next()
                .ok_or(Failure::Incomplete("a further device"))?;
            device.sync(None, 0).await.map(|_synced| ())
        })
        .await;
        let (rooms, bytes) = (self.plan.sync_rooms, u64::try_from(bytes).ok());
        self.report
            .finish(&start, "initial-sync", rooms, &record, bytes)?;
        Ok(())
    }

    /// Times the syncs only; the server's CPU time includes the sends between them.
    pub(super) async fn incremental_sync(&mut self) -> Result<()> {
        self.prepare_sync_account().await?;
        let account = self
            .sync_account
            .as_mut()
            .context("the account was prepared above")?;
        let mut client = self.accounts.client(account.session.clone());
        let mut since = client.sync(None, 0).await?.next_batch;
        let mut bytes = 0;

        let start = self.report.start()?;
        let begun = Instant::now();
        let mut record = Record::new();
        for number in 0..INCREMENTAL_SYNCS {
            if begun.elapsed() >= self.plan.time {
                break;
            }
            account.writers[number % WRITERS].send().await?;
            let before = Instant::now();
            match client.sync(Some(&since), INCREMENTAL_TIMEOUT_MS).await {
                Ok(synced) => {
                    let latency = before.elapsed();
                    match joined_rooms(&synced)? {
                        1 => record.success(latency),
                        _ => record.failure(&Failure::Incomplete("the room with the news")),
                    }
                    bytes += synced.body.len();
                    since = synced.next_batch;
                }
                Err(failure) => record.failure(&failure),
            }
        }
        record.elapsed = begun.elapsed();
        let mean = u64::try_from(bytes)?.checked_div(record.operations());
        self.report.finish(
            &start,
            "incremental-sync",
            self.plan.sync_rooms,
            &record,
            mean,
        )?;
        Ok(())
    }

    /// Registers the account, lets the writers create its rooms and write in them, and joins it to each.
    pub(super) async fn prepare_sync_account(&mut self) -> Result<()> {
        if self.sync_account.is_some() {
            return Ok(());
        }
        let session = self.accounts.register(ACCOUNT).await?;
        let clients = self.accounts.clients(WRITERS).await?;
        let mut writers = Vec::new();
        for (index, client) in clients.into_iter().enumerate() {
            let rooms = (index..self.plan.sync_rooms).step_by(WRITERS).count();
            anyhow::ensure!(rooms > 0, "at least {WRITERS} rooms are needed");
            let joiner = self.accounts.client(session.clone());
            let messages = self.plan.sync_messages;
            let writer = Writer {
                client,
                rooms: Vec::with_capacity(rooms),
                sent: 0,
            };
            writers.push(furnish(writer, joiner, rooms, messages));
        }
        let writers = futures_util::future::try_join_all(writers).await?;
        self.sync_account = Some(SyncAccount { session, writers });
        Ok(())
    }
}

async fn furnish(
    mut writer: Writer,
    mut joiner: Client,
    rooms: usize,
    messages: usize,
) -> Result<Writer, Failure> {
    for number in 0..rooms {
        let room_id = writer
            .client
            .create_room(&format!("To sync {number}"))
            .await?;
        joiner.join(&room_id).await?;
        writer.rooms.push(room_id);
    }
    for _ in 0..rooms * messages {
        writer.send().await?;
    }
    Ok(writer)
}

fn joined_rooms(synced: &Synced) -> Result<usize, Failure> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow, default)]
        rooms: Rooms<'a>,
    }
    #[derive(Default, Deserialize)]
    struct Rooms<'a> {
        #[serde(borrow, default)]
        join: BTreeMap<String, &'a RawValue>,
    }
    let body: Body<'_> = serde_json::from_slice(&synced.body)?;
    Ok(body.rooms.join.len())
}
