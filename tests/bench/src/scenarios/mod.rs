//! What is measured. Each scenario prepares what it needs, warms up, measures, and writes its lines.

mod entry;
mod fan_out;
mod media;
mod rooms;
mod scale;
mod send;
mod sync;

pub(crate) use self::fan_out::{Deliveries, poll};

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use futures_util::future::try_join_all;

use crate::{
    accounts::Accounts,
    client::Client,
    connection::Failure,
    drive::{Bounds, Record, drive},
    report::Report,
};

/// Clients that join a room side by side while a scenario is prepared.
const JOINS: usize = 8;

/// One thing to measure.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Scenario {
    /// Nothing but the passing of time: what the server costs while nobody uses it.
    Idle,
    /// New accounts.
    Register,
    /// New devices, with a password.
    Login,
    /// Rooms created at each concurrency.
    CreateRoom,
    /// Accounts that join existing public rooms, at each concurrency.
    Join,
    /// Messages into one room, whose members are the senders, at each concurrency.
    SendOneRoom,
    /// Messages into many rooms, one sender in each.
    SendManyRooms,
    /// From a send to the sync that carries it, for each of many syncing members.
    FanOut,
    /// The first sync of a new device of an account in many rooms.
    InitialSync,
    /// The next sync of the same account, after a message in one of its rooms.
    IncrementalSync,
    /// The next sync of the same account, when nothing happened.
    EmptySync,
    /// The first page of the same account's room list.
    SlidingSync,
    /// The next sync of a member of a room with many members, after a message in it.
    LargeRoom,
    /// A search among many users.
    UserDirectory,
    /// Files of 1 MB and of 20 MB, uploaded.
    Upload,
    /// Files of 1 MB and of 20 MB, downloaded.
    Download,
    /// The first thumbnail of a photograph of 12 megapixels, by itself and with the upload before it.
    Thumbnail,
}

/// The size of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long each level is measured at most.
    pub time: Duration,
    /// How long each level runs unmeasured before.
    pub warm_up: Duration,
    /// How many operations each level is measured for at most.
    pub operations: u64,
    /// Numbers of concurrent clients.
    pub concurrency: Vec<usize>,
    /// Rooms of `SendManyRooms`.
    pub rooms: usize,
    /// Numbers of syncing members of `FanOut`.
    pub fan_out: Vec<usize>,
    /// Rooms of the account of `InitialSync` and `IncrementalSync`.
    pub sync_rooms: usize,
    /// Members of the room of `LargeRoom`, and users of `UserDirectory`.
    pub members: Vec<usize>,
    /// Messages in each of these rooms.
    pub sync_messages: usize,
    /// How many initial syncs are measured.
    pub initial_syncs: u64,
}

/// Measures the scenarios in the order given.
pub async fn run(
    scenarios: &[Scenario],
    plan: &Plan,
    accounts: &mut Accounts,
    report: &mut Report<'_>,
) -> Result<()> {
    let mut run = Run {
        plan,
        accounts,
        report,
        sync_account: None,
    };
    for &scenario in scenarios {
        match scenario {
            Scenario::Idle => run.idle().await,
            Scenario::Register => run.register().await,
            Scenario::Login => run.login().await,
            Scenario::CreateRoom => run.create_room().await,
            Scenario::Join => run.join().await,
            Scenario::SendOneRoom => run.send_one_room().await,
            Scenario::SendManyRooms => run.send_many_rooms().await,
            Scenario::FanOut => run.fan_out().await,
            Scenario::InitialSync => run.initial_sync().await,
            Scenario::IncrementalSync => run.incremental_sync().await,
            Scenario::EmptySync => run.empty_sync().await,
            Scenario::SlidingSync => run.sliding_sync().await,
            Scenario::LargeRoom => run.large_room().await,
            Scenario::UserDirectory => run.user_directory().await,
            Scenario::Upload => run.upload().await,
            Scenario::Download => run.download().await,
            Scenario::Thumbnail => run.thumbnail().await,
        }
        .with_context(|| format!("scenario {scenario:?}"))?;
    }
    Ok(())
}

struct Run<'a, 'b> {
    plan: &'a Plan,
    accounts: &'a mut Accounts,
    report: &'a mut Report<'b>,
    sync_account: Option<sync::SyncAccount>,
}

impl Run<'_, '_> {
    /// Warms up with `operation`, then measures it.
    async fn measure<W>(
        &mut self,
        scenario: &str,
        level: usize,
        workers: &mut [W],
        operation: impl AsyncFn(&mut W) -> Result<(), Failure>,
    ) -> Result<Record> {
        drive(workers, self.warm_up(), &operation).await;
        let start = self.report.start()?;
        let record = drive(workers, self.bounds(workers.len()), &operation).await;
        self.report.finish(&start, scenario, level, &record, None)?;
        Ok(record)
    }

    fn warm_up(&self) -> Bounds {
        Bounds {
            time: self.plan.warm_up,
            operations_per_worker: u64::MAX,
        }
    }

    fn bounds(&self, workers: usize) -> Bounds {
        let workers = u64::try_from(workers.max(1)).unwrap_or(u64::MAX);
        let operations_per_worker = (self.plan.operations / workers).max(1);
        Bounds {
            time: self.plan.time,
            operations_per_worker,
        }
    }

    /// The greatest number of concurrent clients.
    fn widest(&self) -> usize {
        self.plan.concurrency.iter().copied().max().unwrap_or(1)
    }

    async fn idle(&mut self) -> Result<()> {
        let start = self.report.start()?;
        tokio::time::sleep(self.plan.time).await;
        let record = Record {
            elapsed: self.plan.time,
            ..Record::new()
        };
        self.report.finish(&start, "idle", 0, &record, None)?;
        Ok(())
    }
}

/// A room that the first client creates and all others join. The others hold no connection before their next request:
/// servers cannot take one from each member of a large room.
pub(crate) async fn room_of(clients: &mut [Client], name: &str) -> Result<String, Failure> {
    let Some((first, others)) = clients.split_first_mut() else {
        return Err(Failure::Incomplete("a member for the room"));
    };
    let room_id = first.create_room(name).await?;
    for round in others.chunks_mut(JOINS) {
        try_join_all(round.iter_mut().map(async |client| {
            client.join(&room_id).await?;
            client.rest();
            Ok::<_, Failure>(())
        }))
        .await?;
    }
    Ok(room_id)
}
