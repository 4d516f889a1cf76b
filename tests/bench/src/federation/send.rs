//! How soon a message is on the other server.

use std::time::Instant;

use anyhow::Result;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Pair, Run};
use crate::{
    drive::Record,
    scenarios::{deliver, poll},
};

/// The first ones find connections and caches cold.
const WARM_UP: u64 = 20;

impl Run<'_, '_> {
    pub(super) async fn send(&mut self) -> Result<()> {
        let Pair {
            mut sender,
            mut receiver,
            room_id,
        } = self.pair("Federated send").await?;
        let since = receiver.sync(None, 0).await?.next_batch;
        let (seen, mut sightings) = mpsc::channel(2);
        // Dropped at the end, which ends the long poll under way.
        let mut polls = JoinSet::new();
        polls.spawn(poll(receiver, since, room_id.clone(), seen));

        let mut warm_up = Record::new();
        for probe in 0..WARM_UP {
            deliver(
                &mut sender,
                &room_id,
                probe,
                1,
                &mut sightings,
                &mut warm_up,
            )
            .await;
        }
        let start = self.report.start()?;
        let begun = Instant::now();
        let mut record = Record::new();
        for probe in WARM_UP..WARM_UP + self.plan.operations {
            if begun.elapsed() >= self.plan.time {
                break;
            }
            deliver(&mut sender, &room_id, probe, 1, &mut sightings, &mut record).await;
        }
        record.elapsed = begun.elapsed();
        self.report
            .finish(&start, "federated-send", 1, &record, None)?;
        Ok(())
    }
}
