//! Runs closed-loop workers within bounds and records what they did.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hdrhistogram::Histogram;

use crate::connection::Failure;

/// A worker whose requests only fail backs off, so that a refusing server is not hammered.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);
/// Latencies are recorded in microseconds, up to two minutes, to three digits.
const MAX_LATENCY_US: u64 = 120_000_000;

/// When a drive ends: whichever comes first. A request under way then is still awaited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) time: Duration,
    pub(crate) operations_per_worker: u64,
}

/// Latencies of what succeeded, and counts of what failed, by reason.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) latency_us: Histogram<u64>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) elapsed: Duration,
}

impl Record {
    pub(crate) fn new() -> Self {
        let latency_us = Histogram::new_with_max(MAX_LATENCY_US, 3)
            .expect("the bounds are constants that the histogram takes");
        Self {
            latency_us,
            errors: BTreeMap::new(),
            elapsed: Duration::ZERO,
        }
    }

    pub(crate) fn success(&mut self, latency: Duration) {
        self.latency_us
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn failure(&mut self, failure: &Failure) {
        *self.errors.entry(failure.to_string()).or_default() += 1;
    }

    pub(crate) fn operations(&self) -> u64 {
        self.latency_us.len()
    }
}

/// Lets every worker repeat `operation` until the bounds are reached, all side by side on this thread.
pub(crate) async fn drive<W>(
    workers: &mut [W],
    bounds: Bounds,
    operation: impl AsyncFn(&mut W) -> Result<(), Failure>,
) -> Record {
    let started = Instant::now();
    let run = async |worker: &mut W| {
        let mut record = Record::new();
        for _ in 0..bounds.operations_per_worker {
            let before = Instant::now();
            if before - started >= bounds.time {
                break;
            }
            match operation(worker).await {
                Ok(()) => record.success(before.elapsed()),
                Err(failure) => {
                    record.failure(&failure);
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
        }
        record
    };

    let mut running: FuturesUnordered<_> = workers.iter_mut().map(run).collect();
    let mut total = Record::new();
    while let Some(record) = running.next().await {
        total.latency_us += record.latency_us;
        for (reason, count) in record.errors {
            *total.errors.entry(reason).or_default() += count;
        }
    }
    total.elapsed = started.elapsed();
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn stops_at_the_count_and_counts_failures_apart() {
        let bounds = Bounds {
            time: LONG,
            operations_per_worker: 4,
        };
        let mut workers = [0_u64, 0];
        let record = drive(&mut workers, bounds, async |done| {
            *done += 1;
            if *done == 2 {
                Err(Failure::TimedOut)
            } else {
                Ok(())
            }
        })
        .await;
        assert_eq!(workers, [4, 4]);
        assert_eq!(record.operations(), 6);
        assert_eq!(record.errors.into_values().collect::<Vec<_>>(), [2]);
    }

    #[tokio::test]
    async fn stops_at_the_time() {
        let bounds = Bounds {
            time: Duration::ZERO,
            operations_per_worker: u64::MAX,
        };
        let record = drive(&mut [()], bounds, async |()| Ok(())).await;
        assert_eq!(record.operations(), 0);
    }
}
