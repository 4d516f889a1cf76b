//! What a box stands on: its power, its clock, its disk.

use std::{
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use luxchat_store::{Clock, Disk, Error};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;

/// Milliseconds since the Unix epoch at which every simulation begins.
const BEGINNING: u64 = 1_700_000_000_000;

/// Power, as long as it lasts. What has lost it does nothing any more: nothing reaches its disk or leaves by its wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Power(CancellationToken);

impl Power {
    /// Cuts it.
    pub(crate) fn cut(&self) {
        self.0.cancel();
    }

    /// Whether it is cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.is_cancelled()
    }

    /// What a future comes to, unless the power is cut before.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.0.run_until_cancelled(work).await
    }
}

/// A clock that goes with the simulation's, and is wrong by as much as it is told.
#[derive(Debug)]
pub(crate) struct WrongClock {
    started: Instant,
    wrong_by_ms: AtomicI64,
}

impl WrongClock {
    /// A clock that is right.
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            started,
            wrong_by_ms: AtomicI64::new(0),
        }
    }

    /// Sets it wrong, or right.
    pub(crate) fn set_wrong_by(&self, ms: i64) {
        self.wrong_by_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for WrongClock {
    fn now_ms(&self) -> u64 {
        let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = BEGINNING.saturating_add(passed);
        now.saturating_add_signed(self.wrong_by_ms.load(Ordering::Relaxed))
    }
}

/// A disk that is now and then slow, and fails when it is told to.
#[derive(Clone, Debug)]
pub(crate) struct FaultyDisk {
    dice: Dice,
    power: Power,
    fails: Arc<AtomicBool>,
}

impl FaultyDisk {
    /// A disk of a machine with this power; it fails while `fails` says so.
    pub(crate) fn new(dice: Dice, power: Power, fails: Arc<AtomicBool>) -> Self {
        Self { dice, power, fails }
    }

    /// How long the next read or write takes; mostly no time at all.
    fn delay(&self) -> Option<Duration> {
        match self.dice.below(100) {
            0 => Some(self.dice.millis(20, 500)),
            1..30 => Some(self.dice.millis(1, 4)),
            _ => None,
        }
    }
}

impl Disk for FaultyDisk {
    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            if let Some(delay) = self.delay() {
                self.power.during(sleep(delay)).await;
            }
            if self.power.is_cut() {
                pending::<()>().await;
            }
        })
    }

    fn commit(&self) -> Result<(), Error> {
        // Not at every try: an error in the middle of something is worth more than one at its beginning.
        if self.fails.load(Ordering::Relaxed) && self.dice.happens(60) {
            return Err(Error::DiskFull);
        }
        Ok(())
    }
}
