//! Keeping the index of words up with the rooms, without slowing down those who write to them.

use std::{sync::Arc, time::Duration};

use luxchat_store::{Error as StoreError, Store};
use tokio::{
    sync::Mutex,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::warn;

use crate::Result;

/// How often new events are looked at while nobody searches.
const PERIOD: Duration = Duration::from_secs(1);

/// Events looked at in one go. More may come in a period: then the index falls behind, and a search catches up.
const STEP: u32 = 256;

/// Events indexed by one command to the writer, so that others get their turn in between.
const ENTRIES_OF_COMMAND: usize = 16;

/// The index of words. Clones fill the same one, one at a time.
#[derive(Clone, Debug)]
pub(crate) struct SearchIndex {
    store: Store,
    filling: Arc<Mutex<()>>,
}

impl SearchIndex {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            filling: Arc::default(),
        }
    }

    /// Looks at what is new, now and again, for ever.
    pub(crate) async fn keep_up(&self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let filling = self.filling.lock().await;
            if let Err(error) = self.step().await {
                warn!(%error, "the search index could not be filled");
            }
            drop(filling);
        }
    }

    /// Looks at everything that is new, until the time is up.
    pub(crate) async fn catch_up(&self, time: Duration) -> Result<()> {
        let deadline = Instant::now() + time;
        let _filling = self.filling.lock().await;
        while self.step().await? && Instant::now() < deadline {}
        Ok(())
    }

    /// Looks at the next events; whether there were any.
    async fn step(&self) -> Result<bool, StoreError> {
        let backlog = self.store.read(|tx| tx.search_backlog(STEP)).await?;
        let Some(until) = backlog.until else {
            return Ok(false);
        };
        for entries in backlog.entries.chunks(ENTRIES_OF_COMMAND) {
            let entries = entries.to_vec();
            self.store
                .write(move |tx| tx.index_for_search(&entries))
                .await?;
        }
        self.store.write(move |tx| tx.advance_search(until)).await?;
        Ok(true)
    }
}
