//! Delivers to gateways what is to be told, each pusher in its own time.
//!
//! A pusher's queue is the log behind its cursor. The few events that are known to wait are held in memory; where they are
//! too many, or after a start, they are found again from the cursor on. So whatever was committed is delivered at least
//! once, and a gateway that is away for a day costs no memory.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use luxchat_store::{EventNid, Position, PushCandidate, Pusher, PusherNid, ReadTx};
use rand::RngExt;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use crate::{Push, Result, gateway::Refused, news::Prepared, notification::Composed};

/// Events known to wait for one pusher; more are found again later.
const WAITING: usize = 256;

/// Requests to gateways at the same time.
const REQUESTS: usize = 32;

/// Pushers that look for what they missed at the same time, so that a start does not starve everybody else.
const SEARCHES: usize = 2;

/// Deliveries after which a pusher's cursor is written down, unless it has nothing more to deliver before.
const SAVE_EVERY: usize = 20;

/// Idle pushers whose cursors are written down in one go.
const IDLE_BATCH: usize = 500;

/// How far an idle pusher's cursor may lie back: so many changes are soon looked through.
const IDLE_LAG: i64 = 10_000;

/// What waits for the pushers, and who delivers it.
#[derive(Clone)]
pub(crate) struct Deliveries {
    shared: Arc<Shared>,
}

struct Shared {
    push: Push,
    queues: Mutex<HashMap<PusherNid, Queue>>,
    requests: Semaphore,
    searches: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Queue {
    waiting: BTreeMap<Position, EventNid>,
    /// More may wait in the log than what is known to.
    is_behind: bool,
    is_running: bool,
    /// Up to here nothing is left to deliver.
    done: Position,
    /// The same, as written down.
    saved: Position,
    /// How much the gateway believes is unread.
    told: u64,
    /// It may be less by now.
    may_be_less: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            is_behind: false,
            is_running: false,
            done: Position::START,
            saved: Position::START,
            told: 0,
            may_be_less: false,
        }
    }
}

/// What a pusher has to do next.
enum Next {
    Deliver(PushCandidate),
    Search(Position),
    /// To tell that less is unread than this.
    Recount(u64),
    Nothing,
}

impl Deliveries {
    pub(crate) fn new(push: Push, stop: CancellationToken) -> Self {
        Self {
            shared: Arc::new(Shared {
                push,
                queues: Mutex::default(),
                requests: Semaphore::new(REQUESTS),
                searches: Semaphore::new(SEARCHES),
                tasks: TaskTracker::new(),
                stop,
            }),
        }
    }

    /// A pusher has an event to tell of.
    pub(crate) fn add(&self, pusher: PusherNid, candidate: PushCandidate) {
        self.change(pusher, |queue| {
            if candidate.at <= queue.done || queue.is_behind {
                return;
            }
            if queue.waiting.len() >= WAITING {
                queue.is_behind = true;
            } else {
                queue.waiting.insert(candidate.at, candidate.event);
            }
        });
    }

    /// A pusher's user may have read.
    pub(crate) fn recount(&self, pusher: PusherNid) {
        self.change(pusher, |queue| queue.may_be_less = queue.told > 0);
    }

    /// A pusher may have missed something.
    pub(crate) fn catch_up(&self, pusher: PusherNid) {
        self.change(pusher, |queue| queue.is_behind = true);
    }

    /// Writes down that idle pushers have nothing to deliver up to `seen`.
    pub(crate) async fn note_idle(&self, seen: Position) -> Result<()> {
        let idle: Vec<PusherNid> = {
            let queues = self.lock();
            let idle = queues.iter().filter(|(_, queue)| {
                !queue.is_running
                    && !queue.is_behind
                    && queue.saved.0 < seen.0.saturating_sub(IDLE_LAG)
            });
            idle.map(|(pusher, _)| *pusher).take(IDLE_BATCH).collect()
        };
        if idle.is_empty() {
            return Ok(());
        }
        let pushers = idle.clone();
        let save = move |tx: &mut luxchat_store::WriteTx<'_>| {
            for pusher in pushers {
                tx.advance_pusher(pusher, seen)?;
            }
            Ok::<_, luxchat_store::Error>(())
        };
        // Whoever got something to deliver meanwhile got it from beyond what was seen.
        self.shared.push.store().write(save).await?;
        for pusher in idle {
            if let Some(queue) = self.lock().get_mut(&pusher) {
                queue.saved = seen;
                queue.done = queue.done.max(seen);
            }
        }
        Ok(())
    }

    /// Waits for what is being delivered.
    pub(crate) async fn finish(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PusherNid, Queue>> {
        let queues = &self.shared.queues;
        queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a queue, and sees to it that somebody works on it where there is work.
    fn change(&self, pusher: PusherNid, change: impl FnOnce(&mut Queue)) {
        let mut queues = self.lock();
        let queue = queues.entry(pusher).or_default();
        change(queue);
        let has_work = queue.is_behind || queue.may_be_less || !queue.waiting.is_empty();
        if has_work && !queue.is_running {
            queue.is_running = true;
            let deliveries = self.clone();
            self.shared.tasks.spawn(async move {
                let stop = deliveries.shared.stop.clone();
                if let Some(Err(error)) = stop.run_until_cancelled(deliveries.work(pusher)).await {
                    warn!(%error, "a pusher's deliveries failed");
                    deliveries.give_up(pusher);
                }
            });
        }
    }

    fn give_up(&self, pusher: PusherNid) {
        if let Some(queue) = self.lock().get_mut(&pusher) {
            queue.waiting.clear();
            queue.is_behind = true;
            queue.is_running = false;
        }
    }

    async fn work(&self, nid: PusherNid) -> Result<()> {
        let mut unsaved = 0;
        loop {
            match self.next(nid, unsaved > 0) {
                Next::Deliver(candidate) => {
                    if !self.deliver(nid, candidate).await? {
                        self.lock().remove(&nid);
                        return Ok(());
                    }
                    self.is_done(nid, candidate.at);
                    unsaved += 1;
                }
                Next::Search(after) => {
                    if !self.search(nid, after).await? {
                        self.lock().remove(&nid);
                        return Ok(());
                    }
                }
                Next::Recount(told) => self.tell_count(nid, told).await?,
                Next::Nothing if unsaved == 0 => return Ok(()),
                Next::Nothing => {
                    self.save(nid).await?;
                    unsaved = 0;
                }
            }
            if unsaved >= SAVE_EVERY {
                self.save(nid).await?;
                unsaved = 0;
            }
        }
    }

    /// What to do next. Unless something is left to be done, nobody works on the queue any more.
    fn next(&self, nid: PusherNid, must_save: bool) -> Next {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(&nid) else {
            return Next::Nothing;
        };
        if let Some((at, event)) = queue.waiting.first_key_value() {
            return Next::Deliver(PushCandidate {
                at: *at,
                event: *event,
            });
        }
        if queue.is_behind {
            // Whatever is committed from here on is added by the dispatcher, if it is not found by the search.
            queue.is_behind = false;
            return Next::Search(queue.done);
        }
        if std::mem::take(&mut queue.may_be_less) {
            return Next::Recount(queue.told);
        }
        queue.is_running = must_save;
        Next::Nothing
    }

    fn is_done(&self, nid: PusherNid, at: Position) {
        if let Some(queue) = self.lock().get_mut(&nid) {
            queue.waiting.remove(&at);
            queue.done = queue.done.max(at);
        }
    }

    async fn save(&self, nid: PusherNid) -> Result<()> {
        let done = self
            .lock()
            .get(&nid)
            .map_or(Position::START, |queue| queue.done);
        let save = move |tx: &mut luxchat_store::WriteTx<'_>| tx.advance_pusher(nid, done);
        self.shared.push.store().write(save).await?;
        if let Some(queue) = self.lock().get_mut(&nid) {
            queue.saved = done;
        }
        Ok(())
    }

    /// Finds in the log what waits; `false` where the pusher is gone.
    async fn search(&self, nid: PusherNid, after: Position) -> Result<bool> {
        let _turn = self.shared.searches.acquire().await;
        let push = self.shared.push.clone();
        let look = move |tx: &ReadTx<'_>| push.search(tx, nid, after);
        let Some(found) = self.shared.push.store().read(look).await? else {
            return Ok(false);
        };
        if let Some(queue) = self.lock().get_mut(&nid) {
            queue.is_behind |= found.has_more;
            if found.waiting.is_empty() {
                queue.done = queue.done.max(found.until);
            }
            let waiting = found
                .waiting
                .into_iter()
                .map(|found| (found.at, found.event));
            queue.waiting.extend(waiting);
        }
        Ok(true)
    }

    /// Tells a gateway of an event, until it accepts it or it is no news any more; `false` where the pusher is gone.
    async fn deliver(&self, nid: PusherNid, candidate: PushCandidate) -> Result<bool> {
        let config = &self.shared.push.shared.config;
        let mut failures = 0;
        loop {
            let push = self.shared.push.clone();
            let prepare = move |tx: &ReadTx<'_>| push.prepare(tx, nid, candidate);
            let (pusher, composed) = match self.shared.push.store().read(prepare).await? {
                Prepared::Gone => return Ok(false),
                Prepared::NoNews => return Ok(true),
                Prepared::Send(pusher, composed) => (pusher, composed),
            };
            // It may believe so even if its answer is lost.
            self.is_told(nid, composed.unread);
            match self.send(&pusher, composed).await {
                Ok(rejected) if rejected.contains(&pusher.settings.pushkey) => {
                    info!("a push gateway does not know a pusher: it is removed");
                    let delete =
                        move |tx: &mut luxchat_store::WriteTx<'_>| tx.delete_rejected_pusher(nid);
                    self.shared.push.store().write(delete).await?;
                    return Ok(false);
                }
                Ok(_) => return Ok(true),
                Err(reason) => debug!(%reason, "a push gateway does not accept a notification"),
            }
            failures += 1;
            let wait = config.retry.delay(failures, rand::rng().random());
            tokio::time::sleep(wait).await;
        }
    }

    /// Tells a gateway that less is unread. Should it not listen, the next notification says so too.
    async fn tell_count(&self, nid: PusherNid, told: u64) -> Result<()> {
        let push = self.shared.push.clone();
        let count = move |tx: &ReadTx<'_>| {
            let Some(pusher) = tx.pusher(nid)? else {
                return Ok(None);
            };
            let composed = push.compose_count(tx, &pusher)?;
            Ok::<_, crate::Error>(Some((pusher, composed)))
        };
        let Some((pusher, composed)) = self.shared.push.store().read(count).await? else {
            return Ok(());
        };
        let unread = composed.unread;
        if unread < told {
            match self.send(&pusher, composed).await {
                Ok(_) => self.is_told(nid, unread),
                Err(reason) => debug!(%reason, "a push gateway does not accept a count"),
            }
        }
        Ok(())
    }

    async fn send(&self, pusher: &Pusher, composed: Composed) -> Result<Vec<String>, Refused> {
        let _turn = self.shared.requests.acquire().await;
        let gateways = &self.shared.push.shared.gateways;
        gateways.notify(&pusher.settings.url, composed.body).await
    }

    fn is_told(&self, nid: PusherNid, unread: u64) {
        if let Some(queue) = self.lock().get_mut(&nid) {
            queue.told = unread;
        }
    }
}
