//! A box: what runs while it has power, and what is left of it on its disk.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use luxchat_accounts::Accounts;
use luxchat_application_services::ApplicationServices;
use luxchat_encryption::Encryption;
use luxchat_federation::Federation;
use luxchat_federation_api::{Config, Services, router};
use luxchat_media::Media;
use luxchat_rooms::Rooms;
use luxchat_store::{Execution, Store};
use luxchat_sync::{Presence, Receipts, Sync, Typing};
use ruma::{OwnedServerName, OwnedUserId, UserId, signatures::Ed25519KeyPair};
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    dice::Dice,
    machine::{FaultyDisk, Power, WrongClock},
    network::Network,
    trace::Trace,
};

/// How often events are tried again that wait for what they build upon, as on a box.
const RETRY_PERIOD: Duration = Duration::from_secs(30);

/// How long a box that is told to stop may take.
const STOP_TIME: Duration = Duration::from_secs(10);

/// The users of each box: one who leads and stays, one who only reads, and one who comes and goes.
pub(crate) const USERS: [&str; 3] = ["anchor", "reader", "other"];

/// What boxes are made with.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// Where databases lie.
    pub(crate) folder: PathBuf,
    /// When the simulation began.
    pub(crate) started: Instant,
    /// What is random about the boxes.
    pub(crate) dice: Dice,
    /// What happens.
    pub(crate) trace: Trace,
    /// What connects them.
    pub(crate) network: Network,
}

/// A box, up or down.
#[derive(Debug)]
pub(crate) struct Server {
    name: OwnedServerName,
    key: Vec<u8>,
    site: Site,
    clock: Arc<WrongClock>,
    disk_fails: Arc<AtomicBool>,
    life: Mutex<Life>,
}

/// A box between a start and a stop.
#[derive(Debug, Default)]
struct Life {
    number: usize,
    database: Option<PathBuf>,
    running: Option<Running>,
}

/// What runs on a box. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    /// What keeps it running.
    pub(crate) power: Power,
    /// Its database.
    pub(crate) store: Store,
    /// The other boxes, as it sees them.
    pub(crate) federation: Federation,
    /// Its rooms.
    pub(crate) rooms: Rooms,
    /// What its clients read.
    pub(crate) sync: Sync,
    /// What its users have read.
    pub(crate) receipts: Receipts,
    stop: CancellationToken,
}

impl Server {
    /// A box with its users, switched off.
    pub(crate) fn new(name: OwnedServerName, key: Vec<u8>, site: Site) -> Self {
        Self {
            clock: Arc::new(WrongClock::new(site.started)),
            disk_fails: Arc::default(),
            life: Mutex::default(),
            name,
            key,
            site,
        }
    }

    /// The box's name.
    pub(crate) fn name(&self) -> &OwnedServerName {
        &self.name
    }

    /// One of its users.
    pub(crate) fn user(&self, localpart: &str) -> OwnedUserId {
        UserId::parse(format!("@{localpart}:{}", self.name)).expect("the name is a valid one")
    }

    /// What runs, while the box is up.
    pub(crate) fn running(&self) -> Option<Running> {
        self.life().running.clone()
    }

    /// Makes its clock wrong by so many milliseconds.
    pub(crate) fn set_clock_wrong_by(&self, ms: i64) {
        self.clock.set_wrong_by(ms);
    }

    /// Makes writes fail, or no longer.
    pub(crate) fn set_disk_fails(&self, fails: bool) {
        self.disk_fails.store(fails, Ordering::Relaxed);
    }

    /// Switches the box on, if it is off.
    ///
    /// # Errors
    ///
    /// When it does not start. It must.
    pub(crate) fn start(&self) -> Result<()> {
        let mut life = self.life();
        if life.running.is_some() {
            return Ok(());
        }
        let name = format!("{}.{}", self.name, life.number);
        let database = self.site.folder.join(name);
        if let Some(before) = &life.database {
            // What ran before may hold its file open for as long as the simulation runs.
            carry_over(before, &database, &self.site.dice)?;
        }
        life.running = Some(self.run(&database)?);
        life.database = Some(database);
        life.number += 1;
        self.site.trace.note(format_args!("{} starts", self.name));
        Ok(())
    }

    fn run(&self, database: &Path) -> Result<Running> {
        let power = Power::default();
        let disk = FaultyDisk::new(
            self.site.dice.fork(),
            power.clone(),
            Arc::clone(&self.disk_fails),
        );
        let mut config = luxchat_store::Config::new(database, self.name.clone());
        config.clock = self.clock.clone();
        config.execution = Execution::Task(Arc::new(disk));
        let store = Store::open(config)?;
        let key = Ed25519KeyPair::from_der(&self.key, "1".to_owned())?;
        let wire = self.site.network.wire(power.clone());
        let federation = Federation::in_memory(store.clone(), key, wire)?;
        let rooms = Rooms::new(
            store.clone(),
            federation.clone(),
            luxchat_rooms::Config::default(),
        );
        let typing = Typing::new(store.clone());
        let presence = Presence::new(store.clone(), false);
        let receipts = Receipts::new(store.clone());
        let services = Services {
            store: store.clone(),
            accounts: Accounts::new(store.clone(), luxchat_accounts::Config::default())?,
            rooms: rooms.clone(),
            encryption: Encryption::new(
                store.clone(),
                federation.clone(),
                luxchat_encryption::Config::default(),
            ),
            typing: typing.clone(),
            presence: presence.clone(),
            receipts: receipts.clone(),
            media: Media::open(
                store.clone(),
                federation.clone(),
                luxchat_media::Config::new(self.site.folder.join(format!("{}.media", self.name))),
            )?,
            application_services: ApplicationServices::new(store.clone(), Vec::new())?,
            federation: federation.clone(),
        };
        let router = router(services, Config::default());
        self.site.network.attach(&self.name, router, power.clone());
        let stop = CancellationToken::new();
        federation.start(stop.clone());
        tokio::spawn({
            let (rooms, stop) = (rooms.clone(), stop.clone());
            async move { stop.run_until_cancelled(retry_waiting(rooms)).await }
        });
        tokio::spawn({
            let (rooms, stop) = (rooms.clone(), stop.clone());
            async move { stop.run_until_cancelled(rooms.keep_completing()).await }
        });
        Ok(Running {
            power,
            sync: Sync::new(store.clone(), typing, presence),
            federation,
            store,
            rooms,
            receipts,
            stop,
        })
    }

    /// Makes the accounts of its users.
    pub(crate) async fn make_users(&self) -> Result<()> {
        let users = USERS.map(|localpart| self.user(localpart));
        let running = self.running().context("the box is off")?;
        running
            .store
            .write(move |tx| {
                for user in &users {
                    if let Some(nid) = tx.insert_account(user, None, false)? {
                        tx.insert_device(nid, "DEVICE".into(), None)?;
                    }
                }
                Ok::<_, luxchat_store::Error>(())
            })
            .await?;
        Ok(())
    }

    /// Cuts the power.
    pub(crate) fn crash(&self) {
        let running = self.life().running.take();
        if let Some(running) = running {
            self.site.trace.note(format_args!("{} crashes", self.name));
            running.power.cut();
            // Nothing that is left of it can do anything; this ends what would wait for ever.
            running.stop.cancel();
        }
    }

    /// Stops the box in an orderly way.
    pub(crate) async fn stop(&self) {
        if let Some(running) = self.running() {
            self.site.trace.note(format_args!("{} stops", self.name));
            running.stop.cancel();
            running.power.during(sleep(STOP_TIME)).await;
            self.crash();
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn retry_waiting(rooms: Rooms) {
    let mut ticks = interval(RETRY_PERIOD);
    loop {
        ticks.tick().await;
        // What fails now is tried again with the next tick.
        let _ = rooms.retry_waiting().await;
    }
}

/// Copies a database as a power failure left it: what was written to the end, and the beginning of what was not.
fn carry_over(from: &Path, to: &Path, dice: &Dice) -> Result<()> {
    fs::copy(from, to).context("the database cannot be read")?;
    let (from, to) = (wal(from), wal(to));
    if from.exists() {
        fs::copy(&from, &to).context("the write-ahead log cannot be read")?;
        if dice.happens(50) {
            let torn = vec![u8::try_from(dice.below(256)).unwrap_or(0); dice.below(9_000)];
            OpenOptions::new()
                .append(true)
                .open(&to)?
                .write_all(&torn)?;
        }
    }
    Ok(())
}

fn wal(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
