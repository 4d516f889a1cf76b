//! The outbound queue: one task per destination, reading the store behind its cursors.
//!
//! Nothing is queued here: what waits for a server is whatever the store has behind that server's cursors, and a cursor
//! moves only when the server has acknowledged what lies before it. So a crash anywhere loses nothing and sends nothing
//! that was not committed. Only ephemeral EDUs (typing) live in memory, and are dropped when the server is down.

mod batch;
mod catch_up;
#[cfg(test)]
mod catch_up_tests;
mod destination;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use luxchat_store::{Announcement, ServerNid, Store, Topic};
use ruma::{OwnedServerName, ServerName, api::federation::transactions::edu::Edu, serde::Raw};
use tokio::{
    sync::{Notify, Semaphore, broadcast, broadcast::error::RecvError},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use self::destination::{Destination, Signals};
use crate::{Config, Result, client::Client};

/// The handle on the sender. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    client: Client,
    permits: Arc<Semaphore>,
    share_device_names: bool,
    destinations: Mutex<HashMap<OwnedServerName, Arc<Signals>>>,
    /// Destinations that have no task yet, though something was handed in for them.
    newcomers: Mutex<HashSet<OwnedServerName>>,
    newcomer: Notify,
}

impl Sender {
    pub(crate) fn new(store: Store, client: Client, config: &Config) -> Self {
        let parallel = config.parallel_destinations.max(1);
        Self {
            shared: Arc::new(Shared {
                store,
                client,
                permits: Arc::new(Semaphore::new(parallel)),
                share_device_names: config.share_device_names,
                destinations: Mutex::default(),
                newcomers: Mutex::default(),
                newcomer: Notify::new(),
            }),
        }
    }

    /// Sends until `stop`, then waits for the tasks of all destinations to end.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        // Listen first, so that what is committed from here on is not missed.
        let announcements = self.shared.store.tap();
        let mut tasks = Tasks {
            sender: self.clone(),
            stop: stop.clone(),
            running: JoinSet::new(),
            known: HashMap::new(),
            is_starting: false,
        };
        tasks.serve(announcements).await;
        while tasks.running.join_next().await.is_some() {}
        self.destinations().clear();
    }

    /// Hands in an EDU that is worth nothing later. Only destinations that are up get it.
    pub(crate) fn send_ephemeral(&self, server: &ServerName, edu: Raw<Edu>) {
        let mut destinations = self.destinations();
        if let Some(signals) = destinations.get(server) {
            signals.push_ephemeral(edu);
            return;
        }
        let signals = destinations.entry(server.to_owned()).or_default();
        signals.push_ephemeral(edu);
        drop(destinations);
        self.newcomers().insert(server.to_owned());
        self.shared.newcomer.notify_one();
    }

    /// Whether other servers learn the names of devices.
    pub(crate) fn shares_device_names(&self) -> bool {
        self.shared.share_device_names
    }

    /// `server` speaks: what waits for it is worth an attempt now.
    pub(crate) fn server_speaks(&self, server: &ServerName) {
        if let Some(signals) = self.destinations().get(server) {
            signals.retry();
        }
    }

    fn destinations(&self) -> std::sync::MutexGuard<'_, HashMap<OwnedServerName, Arc<Signals>>> {
        let destinations = &self.shared.destinations;
        destinations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newcomers(&self) -> std::sync::MutexGuard<'_, HashSet<OwnedServerName>> {
        let newcomers = &self.shared.newcomers;
        newcomers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running tasks and who they belong to.
struct Tasks {
    sender: Sender,
    stop: CancellationToken,
    running: JoinSet<()>,
    known: HashMap<ServerNid, Arc<Signals>>,
    /// Whether the servers woken are those that this one was in touch with before it stopped.
    is_starting: bool,
}

impl Tasks {
    async fn serve(&mut self, mut announcements: broadcast::Receiver<Announcement>) {
        self.is_starting = true;
        self.wake_all().await;
        self.is_starting = false;
        let mut members = self.sender.shared.client.membership().watch();
        let (sender, stop) = (self.sender.clone(), self.stop.clone());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = members.changed() => self.retry_all(),
                () = sender.shared.newcomer.notified() => self.wake_newcomers().await,
                announcement = announcements.recv() => match announcement {
                    Ok(announcement) => self.wake(&announcement.topics).await,
                    Err(RecvError::Lagged(_)) => self.wake_all().await,
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    async fn wake(&mut self, topics: &HashSet<Topic>) {
        for topic in topics {
            let Topic::Destination(server) = topic else {
                continue;
            };
            if let Err(error) = self.wake_one(*server).await {
                error!(%error, "a destination could not be woken");
            }
        }
    }

    /// Servers that get something before anything was committed that concerns them.
    async fn wake_newcomers(&mut self) {
        let names = std::mem::take(&mut *self.sender.newcomers());
        let store = self.sender.shared.store.clone();
        let servers = store
            .read(move |tx| {
                let mut servers = HashSet::new();
                for name in names {
                    servers.extend(tx.server_nid(&name)?.map(Topic::Destination));
                }
                Ok(servers)
            })
            .await;
        let servers: Result<HashSet<Topic>, luxchat_store::Error> = servers;
        match servers {
            Ok(servers) => self.wake(&servers).await,
            Err(error) => error!(%error, "the destinations could not be read"),
        }
    }

    /// Everyone that something might wait for: at the start, and when announcements were missed.
    async fn wake_all(&mut self) {
        let store = self.sender.shared.store.clone();
        let servers = store.read(|tx| tx.possible_destinations()).await;
        let servers: Result<Vec<ServerNid>, luxchat_store::Error> = servers;
        match servers {
            Ok(servers) => {
                self.wake(&servers.into_iter().map(Topic::Destination).collect())
                    .await;
            }
            Err(error) => error!(%error, "the destinations could not be read"),
        }
    }

    /// Members may have come back.
    fn retry_all(&self) {
        for signals in self.known.values() {
            signals.retry();
        }
    }

    async fn wake_one(&mut self, server: ServerNid) -> Result<()> {
        if let Some(signals) = self.known.get(&server) {
            signals.work();
            return Ok(());
        }
        let shared = &self.sender.shared;
        let name: OwnedServerName = shared
            .store
            .read(move |tx| tx.server_name_of(server))
            .await
            .map_err(|error: luxchat_store::Error| error)?;
        if name == shared.store.server_name() {
            warn!("an event was announced for this server itself");
            return Ok(());
        }
        let signals = {
            let mut destinations = self.sender.destinations();
            Arc::clone(destinations.entry(name.clone()).or_default())
        };
        signals.work();
        let destination = Destination {
            store: shared.store.clone(),
            client: shared.client.clone(),
            permits: Arc::clone(&shared.permits),
            server,
            name,
            signals: Arc::clone(&signals),
            share_device_names: shared.share_device_names,
            greets: self.is_starting,
        };
        self.known.insert(server, signals);
        let stop = self.stop.clone();
        self.running.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = destination.run() => {}
            }
        });
        Ok(())
    }
}
