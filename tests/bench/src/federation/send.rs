//! How soon a message is on the other server.

use std::time::Duration;

use anyhow::Result;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Pair, Run};
use crate::scenarios::{Deliveries, poll};

/// The first ones find connections and caches cold.
const WARM_UP: u64 = 20;

impl Run<'_, '_> {
    pub(super) async fn send(&mut self) -> Result<()> {
        let Pair {
            sender,
            mut receiver,
            room_id,
        } = self.pair("Federated send").await?;
        let since = receiver.sync(None, 0).await?.next_batch;
        let (seen, sightings) = mpsc::channel(2);
        // Dropped at the end, which ends the long poll under way.
        let mut polls = JoinSet::new();
        polls.spawn(poll(receiver, since, room_id.clone(), seen));

        let mut deliveries = Deliveries {
            sender,
            room_id,
            receivers: 1,
            sightings,
        };
        deliveries.run(0..WARM_UP, Duration::MAX).await;
        let start = self.report.start()?;
        let probes = WARM_UP..WARM_UP + self.plan.operations;
        let record = deliveries.run(probes, self.plan.time).await;
        self.report
            .finish(&start, "federated-send", 1, &record, None)?;
        Ok(())
    }
}
