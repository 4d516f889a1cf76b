//! What two servers that federate do for each other's users.
//!
//! Both are loaded as clients load them; what passes between them is their own business.

mod catch_up;
mod control;
mod join;
mod send;

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{accounts::Accounts, client::Client, connection::Failure, report::Report};

/// How often something is looked at that another server must bring about.
const PAUSE: Duration = Duration::from_millis(5);

/// One thing to measure between two servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum FederationScenario {
    /// From a send on one server to the sync on the other that carries it.
    FederatedSend,
    /// The first join from one server into a room of the other.
    FederatedJoin,
    /// How soon a server has the messages that were sent while it was away.
    CatchUp,
}

/// The size of a run.
#[derive(Clone, Debug)]
pub struct FederationPlan {
    /// How long `FederatedSend` is measured at most.
    pub time: Duration,
    /// How many sends are measured at most.
    pub operations: u64,
    /// Numbers of members of the rooms that are joined.
    pub members: Vec<usize>,
    /// How many rooms of each size are joined.
    pub joins: usize,
    /// How many messages the peer misses.
    pub missed: usize,
}

/// The servers of a run.
#[derive(Debug)]
pub struct Servers {
    /// Where rooms are made and messages are sent.
    pub resident: Accounts,
    /// Where they are joined and received.
    pub peer: Accounts,
    /// A third one that makes the rooms of `FederatedJoin`, which the resident then joins first: for residents that take
    /// too long to gather many members.
    pub maker: Option<Accounts>,
}

/// Measures the scenarios in the order given.
pub async fn run(
    scenarios: &[FederationScenario],
    plan: &FederationPlan,
    servers: &mut Servers,
    report: &mut Report<'_>,
) -> Result<()> {
    let mut run = Run {
        plan,
        servers,
        report,
    };
    for &scenario in scenarios {
        match scenario {
            FederationScenario::FederatedSend => run.send().await,
            FederationScenario::FederatedJoin => run.join().await,
            FederationScenario::CatchUp => run.catch_up().await,
        }
        .with_context(|| format!("scenario {scenario:?}"))?;
    }
    Ok(())
}

struct Run<'a, 'b> {
    plan: &'a FederationPlan,
    servers: &'a mut Servers,
    report: &'a mut Report<'b>,
}

impl Run<'_, '_> {
    /// A user of each server, both in a room of the resident.
    async fn pair(&mut self, name: &str) -> Result<Pair, Failure> {
        let mut sender = one(&mut self.servers.resident).await?;
        let mut receiver = one(&mut self.servers.peer).await?;
        let room_id = sender.create_room(name).await?;
        let via = sender.server_name().await?;
        receiver.join_via(&room_id, &via).await?;
        Ok(Pair {
            sender,
            receiver,
            room_id,
        })
    }
}

/// Two users of two servers, in one room.
struct Pair {
    sender: Client,
    receiver: Client,
    room_id: String,
}

async fn one(accounts: &mut Accounts) -> Result<Client, Failure> {
    let mut clients = accounts.clients(1).await?;
    clients.pop().ok_or(Failure::Incomplete("an account"))
}
