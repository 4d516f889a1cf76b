//! Registration and login. Both hash a password on purpose slowly, so a few suffice.

use anyhow::Result;

use super::Run;
use crate::drive::{Bounds, drive};

const REGISTRATIONS: u64 = 10;
const LOGINS_PER_LEVEL: u64 = 40;
/// Password hashing occupies every core well below the concurrency of other scenarios.
const MAX_CONCURRENT_LOGINS: usize = 10;

impl Run<'_, '_> {
    pub(super) async fn register(&mut self) -> Result<()> {
        let bounds = Bounds {
            time: self.plan.time,
            operations_per_worker: REGISTRATIONS,
        };
        self.accounts.register_next().await?;
        let start = self.report.start()?;
        let mut worker = [&mut *self.accounts];
        let record = drive(&mut worker, bounds, async |accounts| {
            accounts.register_next().await
        });
        let record = record.await;
        self.report.finish(&start, "register", 1, &record, None)?;
        Ok(())
    }

    pub(super) async fn login(&mut self) -> Result<()> {
        self.accounts.clients(1).await?;
        let levels = self.plan.concurrency.clone();
        for level in levels
            .into_iter()
            .filter(|&level| level <= MAX_CONCURRENT_LOGINS)
        {
            let bounds = Bounds {
                time: self.plan.time,
                operations_per_worker: (LOGINS_PER_LEVEL / level.max(1) as u64).max(1),
            };
            let accounts = &*self.accounts;
            let mut connections = accounts.connections(level);
            let log_in = async |connection: &mut _| {
                accounts.log_in(connection, "0").await.map(|_session| ())
            };
            let start = self.report.start()?;
            let record = drive(&mut connections, bounds, log_in).await;
            self.report.finish(&start, "login", level, &record, None)?;
        }
        Ok(())
    }
}
