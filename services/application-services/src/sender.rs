//! Sending services what concerns them: in order, each transaction until it is taken.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Method;
use luxchat_store::{Announcement, Backoff, Position, RoomNid, ServiceProgress, Store, Topic};
use metrics::counter;
use rand::RngExt;
use serde_json::Value;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    ApplicationServices, Live, Result, Service,
    batch::Batch,
    client::{Call, Fallback},
    ephemeral,
    interest::OwnUsers,
};

/// How long a service may take for a transaction.
const TRANSACTION_TIME: Duration = Duration::from_mins(1);

/// When to try again.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_mins(5),
};

/// A cursor that moved this far over what does not concern its service is written down without a transaction.
const IDLE_ADVANCE: i64 = 10_000;

/// How long to wait where the store fails.
const STORE_PAUSE: Duration = Duration::from_secs(5);

impl ApplicationServices {
    /// Sends services what concerns them, until told to stop. A service that has never been sent to hears of what
    /// happens from now on.
    pub async fn run(&self, live: Arc<dyn Live>, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        for service in self.all() {
            if service.registration().url.is_none() {
                continue;
            }
            let sender = Sender {
                services: self.clone(),
                service: Arc::clone(service),
                live: Arc::clone(&live),
                announcements: self.inner.store.tap(),
                own: OwnUsers::default(),
                rooms: HashSet::new(),
            };
            tasks.spawn(stop.clone().run_until_cancelled_owned(sender.run()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                error!(%error, "sending to an application service ended");
            }
        }
    }
}

/// The task of one service.
struct Sender {
    services: ApplicationServices,
    service: Arc<Service>,
    live: Arc<dyn Live>,
    announcements: Receiver<Announcement>,
    own: OwnUsers,
    /// Where something happened since the last look.
    rooms: HashSet<RoomNid>,
}

/// Where a service stands, as far as it lives in memory.
struct Standing {
    progress: ServiceProgress,
    /// Up to here nothing else concerns the service; the store may not know yet.
    examined: Position,
    /// Ephemeral events up to here were sent or dropped.
    ephemeral: Position,
}

impl Sender {
    async fn run(mut self) {
        let mut standing = loop {
            match self.load().await {
                Ok(standing) => break standing,
                Err(error) => {
                    error!(service = self.service.id(), %error, "the state of an application service cannot be read");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        };
        loop {
            if standing.progress.failures > 0 {
                self.wait_for_retry(&standing).await;
            }
            match self.step(&mut standing).await {
                Ok(true) => {}
                Ok(false) => {
                    if !self.wait_for_news().await {
                        return;
                    }
                }
                Err(error) => self.failed(&mut standing, &error).await,
            }
        }
    }

    fn store(&self) -> &Store {
        &self.services.inner.store
    }

    async fn load(&self) -> Result<Standing> {
        let id = self.service.id().to_owned();
        let progress = self
            .store()
            .write(move |tx| {
                tx.insert_service(&id)?;
                tx.service_progress(&id)
            })
            .await?;
        let now = self.store().read(|tx| tx.position()).await?;
        let Some(progress) = progress else {
            return Err(luxchat_store::Error::invalid("application service", "lost").into());
        };
        Ok(Standing {
            examined: progress.events,
            ephemeral: now,
            progress,
        })
    }

    /// Sends the transaction that was made, or makes the next one; `false` where there is nothing to do.
    async fn step(&mut self, standing: &mut Standing) -> Result<bool> {
        if let Some(body) = standing.progress.pending.clone() {
            self.send(standing.progress.txn, body).await?;
            let id = self.service.id().to_owned();
            self.store()
                .write(move |tx| tx.acknowledge_service_transaction(&id))
                .await?;
            if standing.progress.failures > 0 {
                info!(
                    service = self.service.id(),
                    "the application service is up again"
                );
            }
            standing.progress.pending = None;
            standing.progress.failures = 0;
            return Ok(true);
        }
        self.drain();
        let batch = self.next_batch(standing).await?;
        if batch.events.is_empty() && batch.ephemeral.is_empty() {
            standing.ephemeral = batch.position;
            self.pass_over(standing, batch.until).await?;
            return Ok(batch.more);
        }
        let body = Batch::body(&batch.events, &batch.ephemeral)?;
        let (id, pending) = (self.service.id().to_owned(), body.clone());
        let txn = self
            .store()
            .write(move |tx| tx.insert_service_transaction(&id, batch.until, &pending))
            .await?;
        standing.progress.events = batch.until;
        standing.progress.txn = txn;
        standing.progress.pending = Some(body);
        standing.examined = batch.until;
        standing.ephemeral = batch.position;
        Ok(true)
    }

    async fn next_batch(&mut self, standing: &Standing) -> Result<Next> {
        let (service, live) = (Arc::clone(&self.service), Arc::clone(&self.live));
        let mut own = std::mem::take(&mut self.own);
        let rooms = std::mem::take(&mut self.rooms);
        let (after, since) = (standing.examined, standing.ephemeral);
        let now_ms = self.store().clock().now_ms();
        let (next, own) = self
            .store()
            .read(move |tx| {
                own.refresh(tx, &service)?;
                let batch = Batch::read(tx, &service, &own, after, now_ms)?;
                let ephemeral = if service.registration().receive_ephemeral {
                    ephemeral::read(tx, &service, &own, &*live, &rooms, since)?
                } else {
                    Vec::new()
                };
                let next = Next {
                    events: batch.events,
                    ephemeral,
                    until: batch.until,
                    position: tx.position()?,
                    more: batch.more,
                };
                Ok::<_, crate::Error>((next, own))
            })
            .await?;
        self.own = own;
        Ok(next)
    }

    /// Nothing up to `until` concerns the service.
    async fn pass_over(&self, standing: &mut Standing, until: Position) -> Result<()> {
        standing.examined = until;
        if until.0 - standing.progress.events.0 >= IDLE_ADVANCE {
            let id = self.service.id().to_owned();
            self.store()
                .write(move |tx| tx.advance_service(&id, until))
                .await?;
            standing.progress.events = until;
        }
        Ok(())
    }

    async fn send(&self, txn: u64, body: String) -> Result<()> {
        let call = Call {
            method: Method::PUT,
            path: &["transactions", &txn.to_string()],
            query: &[],
            body: Some(Bytes::from(body)),
            time: TRANSACTION_TIME,
            fallback: Fallback::Bare,
        };
        let answer = self.services.inner.client.call(&self.service, call).await?;
        if let Some(answer) = answer {
            answer.success()?;
        }
        counter!("luxchat_application_service_transactions_total", "outcome" => "success")
            .increment(1);
        Ok(())
    }

    async fn failed(&mut self, standing: &mut Standing, error: &crate::Error) {
        counter!("luxchat_application_service_transactions_total", "outcome" => "failure")
            .increment(1);
        let failures = standing.progress.failures.saturating_add(1);
        let delay = BACKOFF.delay(failures, rand::rng().random());
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let retry_ts = self.store().clock().now_ms().saturating_add(delay_ms);
        standing.progress.failures = failures;
        standing.progress.retry_ts = retry_ts;
        let service = self.service.id();
        if failures == 1 {
            warn!(service, %error, "the application service cannot be sent to");
        } else {
            debug!(service, %error, failures, delay_ms, "the application service still cannot be sent to");
        }
        let id = service.to_owned();
        let noted = self
            .store()
            .write(move |tx| tx.set_service_failures(&id, failures, retry_ts))
            .await;
        let noted: Result<(), luxchat_store::Error> = noted;
        if let Err(error) = noted {
            warn!(service, %error, "a failure could not be noted");
        }
    }

    /// Waits until the next attempt is due. What types meanwhile is worth nothing then.
    async fn wait_for_retry(&mut self, standing: &Standing) {
        let wait = standing
            .progress
            .retry_ts
            .saturating_sub(self.store().clock().now_ms());
        tokio::time::sleep(Duration::from_millis(wait)).await;
        self.drain();
        self.rooms.clear();
    }

    /// Waits for something in some room; `false` where nothing comes any more.
    async fn wait_for_news(&mut self) -> bool {
        loop {
            match self.announcements.recv().await {
                Ok(announcement) => {
                    if self.note(&announcement) {
                        return true;
                    }
                }
                Err(RecvError::Lagged(_)) => return true,
                Err(RecvError::Closed) => return false,
            }
        }
    }

    /// Takes in what was announced already, so that one look serves for all of it.
    fn drain(&mut self) {
        while let Ok(announcement) = self.announcements.try_recv() {
            self.note(&announcement);
        }
    }

    /// Whether an announcement could concern the service at all.
    fn note(&mut self, announcement: &Announcement) -> bool {
        let mut concerns = false;
        for topic in &*announcement.topics {
            match topic {
                Topic::Room(room) => {
                    self.rooms.insert(*room);
                    concerns = true;
                }
                Topic::User(_) => concerns = true,
                Topic::Destination(_) => {}
            }
        }
        concerns
    }
}

/// What the next transaction is made of.
struct Next {
    events: Vec<Box<serde_json::value::RawValue>>,
    ephemeral: Vec<Value>,
    until: Position,
    position: Position,
    more: bool,
}
