//! Sending to one server.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use luxchat_store::{Backoff, Cursors, Position, ServerNid, Store};
use metrics::{counter, histogram};
use rand::RngExt;
use ruma::{
    OwnedServerName,
    api::federation::transactions::{edu::Edu, send_transaction_message::v1 as transaction},
    serde::Raw,
};
use tokio::sync::{Notify, Semaphore};
use tracing::{debug, info, warn};

use super::{
    batch::{Batch, MAX_EPHEMERAL, Pdus},
    catch_up::CatchUp,
};
use crate::{Error, Result, client::Client};

/// A server that speaks is tried at once, but not more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// When to try again.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_mins(10),
};

/// Cursors that moved this far over what does not concern the server are written down without a transaction.
const IDLE_ADVANCE: i64 = 10_000;

/// A typing notice that has waited for longer, behind a transaction that takes its time, is over.
const EPHEMERAL_LIFE: Duration = Duration::from_secs(15);

/// What others tell the task of a destination.
#[derive(Debug, Default)]
pub(super) struct Signals {
    work: Notify,
    retry: Notify,
    ephemeral: Mutex<Ephemeral>,
}

/// EDUs that are worth nothing later.
#[derive(Debug, Default)]
struct Ephemeral {
    queue: VecDeque<(Instant, Raw<Edu>)>,
    is_down: bool,
}

impl Signals {
    /// There may be something to send.
    pub(super) fn work(&self) {
        self.work.notify_one();
    }

    /// The server may be up again.
    pub(super) fn retry(&self) {
        self.retry.notify_one();
    }

    /// Adds an ephemeral EDU in place of the oldest one where there are many, unless the server is down.
    pub(super) fn push_ephemeral(&self, edu: Raw<Edu>) {
        let mut ephemeral = self.ephemeral();
        if ephemeral.is_down {
            return;
        }
        if ephemeral.queue.len() >= MAX_EPHEMERAL {
            ephemeral.queue.pop_front();
        }
        ephemeral.queue.push_back((Instant::now(), edu));
        drop(ephemeral);
        self.work();
    }

    /// What is not over yet.
    fn take_ephemeral(&self) -> impl Iterator<Item = Raw<Edu>> + use<> {
        let queue = std::mem::take(&mut self.ephemeral().queue);
        let lives = |since: &Instant| since.elapsed() < EPHEMERAL_LIFE;
        let queue = queue.into_iter().filter(move |(since, _)| lives(since));
        queue.map(|(_, edu)| edu)
    }

    fn set_down(&self, is_down: bool) {
        let mut ephemeral = self.ephemeral();
        ephemeral.is_down = is_down;
        if is_down {
            ephemeral.queue.clear();
        }
    }

    fn ephemeral(&self) -> std::sync::MutexGuard<'_, Ephemeral> {
        self.ephemeral
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of one destination.
pub(super) struct Destination {
    pub(super) store: Store,
    pub(super) client: Client,
    pub(super) permits: Arc<Semaphore>,
    pub(super) server: ServerNid,
    pub(super) name: OwnedServerName,
    pub(super) signals: Arc<Signals>,
    pub(super) share_device_names: bool,
    /// Whether the server is to hear at once that this one is up.
    pub(super) greets: bool,
}

/// Where a destination stands, as far as it lives in memory.
struct Progress {
    /// Everything up to here is acknowledged or does not concern the server.
    cursors: Cursors,
    /// What the store has of that.
    stored: Cursors,
    failures: u32,
    retry_ts: u64,
    /// Whether the server may have missed a lot since it was last sent to.
    was_away: bool,
    catch_up: Option<CatchUp>,
}

impl Progress {
    /// Which events are to be sent next.
    fn next_pdus(&self) -> Pdus {
        self.catch_up.as_ref().map_or(Pdus::InOrder, CatchUp::next)
    }

    /// The events up to `reached` are sent.
    fn advance(&mut self, cursors: Cursors, reached: Position) {
        self.cursors = cursors;
        if let Some(catch_up) = &mut self.catch_up
            && let Some(end) = catch_up.advance(cursors.pdus, reached)
        {
            self.cursors.pdus = end;
            self.catch_up = None;
        }
    }

    /// Whether cursors that moved over nothing are to be written down: now and then, and to clear noted failures.
    fn is_worth_noting(&self, cursors: Cursors) -> bool {
        self.failures > 0 || cursors.pdus.0 - self.stored.pdus.0 >= IDLE_ADVANCE
    }
}

/// How far a batch brings its destination.
#[derive(Clone, Copy)]
struct Reach {
    cursors: Cursors,
    pdus: Position,
    to_device: Option<Position>,
}

impl Reach {
    fn of(batch: &Batch) -> Self {
        Self {
            cursors: batch.cursors,
            pdus: batch.reached,
            to_device: batch.to_device,
        }
    }
}

impl Destination {
    /// Sends for as long as it is polled.
    pub(super) async fn run(self) {
        let mut progress = self.load().await;
        if self.greets {
            self.greet().await;
            // How long ago the server was last tried says little after a restart.
            progress.retry_ts = 0;
        }
        loop {
            if progress.failures == 0 {
                self.signals.work.notified().await;
            } else {
                self.wait_for_retry(&progress).await;
            }
            let Ok(_permit) = self.permits.acquire().await else {
                return;
            };
            match self.send_all(&mut progress).await {
                Ok(()) => self.succeeded(&mut progress),
                Err(error) => self.failed(&mut progress, &error).await,
            }
        }
    }

    /// Lets the server know that this one is up, by a transaction with nothing in it: what waits there for this server may
    /// otherwise wait for minutes more, and where both wait for the other to speak first, on both sides.
    async fn greet(&self) {
        let Ok(_permit) = self.permits.acquire().await else {
            return;
        };
        if let Err(error) = self.send(Batch::empty()).await {
            debug!(server = %self.name, %error, "the server cannot be greeted");
        }
    }

    /// The stored state; while the store does not answer, there is nothing to send either.
    async fn load(&self) -> Progress {
        let server = self.server;
        loop {
            let known = self.store.read(move |tx| tx.destination(server)).await;
            let known: Result<_, luxchat_store::Error> = known;
            match known {
                Ok(known) => {
                    return Progress {
                        cursors: known.cursors,
                        stored: known.cursors,
                        failures: known.failures,
                        retry_ts: known.retry_ts,
                        was_away: true,
                        catch_up: None,
                    };
                }
                Err(error) => {
                    warn!(%error, "the state of a destination cannot be read");
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
        }
    }

    /// Waits until the next attempt is due or the server speaks. New events alone do not hasten it.
    async fn wait_for_retry(&self, progress: &Progress) {
        let wait = progress
            .retry_ts
            .saturating_sub(self.client.clock().now_ms());
        let wait = Duration::from_millis(wait);
        let shortest = tokio::time::sleep(wait.min(SHORTEST_PAUSE));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = async { tokio::join!(shortest, self.signals.retry.notified()); } => {
                debug!(server = %self.name, "the server is tried before its time");
            }
        }
    }

    /// Sends transactions until nothing is left.
    async fn send_all(&self, progress: &mut Progress) -> Result<()> {
        if progress.was_away {
            let (server, after) = (self.server, progress.cursors.pdus);
            progress.catch_up = self
                .store
                .read(move |tx| CatchUp::plan(tx, server, after))
                .await?;
            progress.was_away = false;
        }
        loop {
            let (server, cursors) = (self.server, progress.cursors);
            let (pdus, share_names) = (progress.next_pdus(), self.share_device_names);
            let mut batch = self
                .store
                .read(move |tx| Batch::read(tx, server, cursors, pdus, share_names))
                .await?;
            batch.add_ephemeral(self.signals.take_ephemeral());
            let (reach, more) = (Reach::of(&batch), batch.more);
            if !batch.is_empty() {
                self.send(batch).await?;
                self.settle(progress, reach).await?;
                self.is_up(progress);
            } else if reach.to_device.is_some() || progress.is_worth_noting(reach.cursors) {
                self.settle(progress, reach).await?;
            } else {
                progress.advance(reach.cursors, reach.pdus);
            }
            if !more && progress.catch_up.is_none() {
                return Ok(());
            }
        }
    }

    async fn send(&self, batch: Batch) -> Result<()> {
        let mut request = transaction::Request::new(
            batch.transaction_id(),
            self.client.identity().server_name().to_owned(),
            self.client.clock().now(),
        );
        let (pdus, edus) = (batch.pdus.len() as u64, batch.edus.len() as u64);
        request.pdus = batch.pdus;
        request.edus = batch.edus;

        let started = Instant::now();
        let response = self.client.request(&self.name, request).await?;
        histogram!("luxchat_federation_transaction_seconds").record(started.elapsed());
        counter!("luxchat_federation_sent_pdus_total").increment(pdus);
        counter!("luxchat_federation_sent_edus_total").increment(edus);
        for (event_id, error) in response
            .pdus
            .iter()
            .filter_map(|(id, r)| Some((id, r.as_ref().err()?)))
        {
            warn!(server = %self.name, %event_id, error, "the server did not take an event");
        }

        Ok(())
    }

    /// The server has everything up to `reach`.
    async fn settle(&self, progress: &mut Progress, reach: Reach) -> Result<()> {
        let server = self.server;
        let Reach {
            cursors,
            pdus,
            to_device,
        } = reach;
        self.store
            .write(move |tx| {
                if let Some(until) = to_device {
                    tx.acknowledge_to_device_outbox(server, until)?;
                }
                tx.advance_destination(server, cursors)
            })
            .await?;
        progress.stored = cursors;
        progress.advance(cursors, pdus);
        Ok(())
    }

    fn succeeded(&self, progress: &mut Progress) {
        self.is_up(progress);
        counter!("luxchat_federation_attempts_total", "outcome" => "success").increment(1);
    }

    /// Attempts that failed before an answer count no longer, however much is still to be sent.
    fn is_up(&self, progress: &mut Progress) {
        if progress.failures > 0 {
            info!(server = %self.name, failures = progress.failures, "the server is up again");
            progress.failures = 0;
        }
        self.signals.set_down(false);
    }

    async fn failed(&self, progress: &mut Progress, error: &Error) {
        progress.failures = progress.failures.saturating_add(1);
        // What is the newest then, is to be seen anew.
        progress.was_away = true;
        let delay = BACKOFF.delay(progress.failures, rand::rng().random());
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        progress.retry_ts = self.client.clock().now_ms().saturating_add(delay_ms);
        self.signals.set_down(true);
        counter!("luxchat_federation_attempts_total", "outcome" => "failure").increment(1);
        let failures = progress.failures;
        if failures == 1 {
            warn!(server = %self.name, %error, "the server cannot be sent to");
        } else {
            debug!(server = %self.name, %error, failures, delay_ms, "the server still cannot be sent to");
        }

        let (server, retry_ts) = (self.server, progress.retry_ts);
        let noted = self
            .store
            .write(move |tx| tx.set_destination_failures(server, failures, retry_ts))
            .await;
        let noted: Result<(), luxchat_store::Error> = noted;
        if let Err(error) = noted {
            warn!(%error, "a failure could not be noted");
        }
    }
}
