//! One simulation, from its seed to its verdict.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::{
    runtime::Builder,
    sync::Mutex,
    time::{sleep, timeout},
};

use crate::{
    checks::{check_rooms, check_unread},
    client::{Client, follow},
    dice::Dice,
    faults::{break_things, heal},
    trace::Trace,
    users::{act, enter_rooms, read_all, say},
    world::World,
};

/// How long boxes that were not in a room yet may take to come into it once everything is whole.
const ENTER_TIME: Duration = Duration::from_hours(2);

/// How long everything that waits may take then: the longest pause of a sender is ten minutes.
const REST: Duration = Duration::from_mins(25);

/// How long news may take in fair weather.
const SPREAD: Duration = Duration::from_mins(1);

/// How to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Where the boxes' files lie: an empty folder.
    pub folder: &'a Path,
    /// Whether everything that happens is printed to standard error.
    pub prints: bool,
    /// Whether everything is compared that could be, beyond what must hold.
    pub strict: bool,
}

/// What came of a simulation.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The digest of everything that happened.
    pub digest: String,
    /// What must not be, but is.
    pub violations: Vec<String>,
    /// Events that boxes acknowledged.
    pub events: usize,
}

/// Runs the simulation of a seed. Only in a process whose randomness follows from the seed, too, is it the same each time.
///
/// # Errors
///
/// When it cannot be set up.
pub fn run(seed: u64, options: Options<'_>) -> Result<Outcome> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    let outcome = runtime.block_on(simulate(seed, options));
    // Of boxes without power, tasks are left that never end.
    runtime.shutdown_background();
    outcome
}

/// Where databases lie: in memory, where the system has such a place.
pub fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

async fn simulate(seed: u64, options: Options<'_>) -> Result<Outcome> {
    let dice = Dice::new(seed);
    let trace = Trace::new(options.prints);
    let world = Arc::new(World::new(dice.clone(), trace.clone(), options).await?);
    let clients: Vec<Arc<Mutex<Client>>> = (0..world.honest).map(|_| Arc::default()).collect();

    let mut entering = Vec::new();
    for index in 0..world.servers.len() {
        entering.push(tokio::spawn(enter_rooms(Arc::clone(&world), index)));
    }
    // Most of the time, some are in the rooms before anything goes wrong.
    sleep(dice.millis(0, 2_000)).await;
    let mut busy = Vec::new();
    for index in 0..world.servers.len() {
        busy.push(tokio::spawn(act(Arc::clone(&world), index)));
    }
    for (index, client) in clients.iter().enumerate() {
        let followed = follow(Arc::clone(&world), index, Arc::clone(client));
        busy.push(tokio::spawn(followed));
    }
    busy.push(tokio::spawn(break_things(Arc::clone(&world))));
    sleep(dice.millis(20_000, 90_000)).await;

    world.over.cancel();
    for task in busy {
        // Users wait for their boxes for a few minutes at most.
        task.await?;
    }
    sleep(SPREAD).await;
    heal(&world)?;
    for task in entering {
        if timeout(ENTER_TIME, task).await.is_err() {
            world.violation("a box cannot enter a room".to_owned());
        }
    }
    sleep(REST).await;
    judge(&world, &clients).await?;
    Ok(Outcome {
        digest: trace.digest(),
        violations: world.violations(),
        events: world.sent().len(),
    })
}

/// Joins all branches, lets everyone read, and looks at what came of it.
async fn judge(world: &World, clients: &[Arc<Mutex<Client>>]) -> Result<()> {
    for round in ["settled", "at rest"] {
        for index in 0..world.honest {
            for room in &world.rooms {
                if !say(world, index, room, round).await {
                    let name = world.servers[index].name();
                    world.violation(format!("{room}: {name} cannot say anything"));
                }
            }
            sleep(SPREAD).await;
        }
    }
    for (index, server) in world.servers[..world.honest].iter().enumerate() {
        let Some(running) = server.running() else {
            bail!("{} is off", server.name());
        };
        clients[index]
            .lock()
            .await
            .sync(world, index, &running)
            .await;
        for room in &world.rooms {
            if let Err(error) = read_all(server, &running, room).await {
                world.violation(format!("{} cannot read: {error}", server.name()));
            }
        }
    }
    sleep(SPREAD).await;
    let mut unread = BTreeMap::new();
    for room in &world.rooms {
        for index in 0..world.honest {
            for number in 0..=world.dice.below(3) {
                say(world, index, room, &format!("unread {number}")).await;
                *unread.entry(room.clone()).or_default() += 1;
            }
        }
    }
    sleep(SPREAD).await;
    let mut told = Vec::new();
    for (index, server) in world.servers[..world.honest].iter().enumerate() {
        let mut client = Arc::clone(&clients[index]).lock_owned().await;
        if let Some(running) = server.running() {
            client.sync(world, index, &running).await;
        }
        told.push(client);
    }
    let told: Vec<&Client> = told.iter().map(|client| &**client).collect();
    check_rooms(world, &told).await?;
    check_unread(world, &told, &unread).await
}
