//! Keeping the members list up to date.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use luxchat_bundle::{Bundle, Source, TrustStore, UpdateError};
use luxchat_store::Clock;
use metrics::{counter, gauge};
use rand::RngExt;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::Membership;

/// The file that leads to all others: while it stays the same, so do they.
const TIMESTAMP: &str = "metadata/timestamp.json";
const MAX_TIMESTAMP: u64 = 64 * 1024;

/// Looks for a newer repository again and again, and puts what verifies into force. The last good list stays otherwise.
#[derive(Debug)]
pub struct Updates {
    trust: Arc<TrustStore>,
    source: Arc<dyn Source>,
    membership: Membership,
    clock: Arc<dyn Clock>,
    every: Duration,
    state: Mutex<State>,
}

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateStatus {
    /// When the source was last asked, in milliseconds since the Unix epoch.
    pub checked_ms: Option<u64>,
    /// When it last had a repository that verifies, in milliseconds since the Unix epoch.
    pub succeeded_ms: Option<u64>,
    /// Why the last attempt failed. `None`: it did not.
    pub error: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    status: UpdateStatus,
    /// The timestamp file behind the list in force.
    timestamp: Option<Vec<u8>>,
}

impl Updates {
    /// Looks at `source` about every `every`, a little earlier rather than later.
    pub fn new(
        trust: Arc<TrustStore>,
        source: Arc<dyn Source>,
        membership: Membership,
        clock: Arc<dyn Clock>,
        every: Duration,
    ) -> Self {
        Self {
            trust,
            source,
            membership,
            clock,
            every,
            state: Mutex::default(),
        }
    }

    /// How it goes.
    pub fn status(&self) -> UpdateStatus {
        self.state().status.clone()
    }

    /// Looks until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            // What went wrong is in the log and in the status.
            let _ = self.check().await;
            // Without any list nobody federates: that must not last longer than it has to.
            let every = if self.membership.current().is_some() {
                self.every
            } else {
                self.every / 10
            };
            let pause = every.mul_f64(1.0 - rand::rng().random::<f64>() / 5.0);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks once.
    ///
    /// # Errors
    ///
    /// Why what the source has was not taken over; the last good list stays in force.
    pub async fn check(&self) -> Result<(), UpdateError> {
        let now_ms = self.clock.now_ms();
        let result = self.update(now_ms).await;
        let mut state = self.state();
        state.status.checked_ms = Some(now_ms);
        let before = state.status.error.take();
        match &result {
            Ok(()) => {
                state.status.succeeded_ms = Some(now_ms);
                if before.is_some() {
                    info!("the members list is up to date again");
                }
            }
            Err(error) => {
                let message = error.to_string();
                counter!("luxchat_federation_update_failures_total").increment(1);
                if before.as_deref() != Some(&message) {
                    report(error);
                }
                state.status.error = Some(message);
            }
        }
        result
    }

    async fn update(&self, now_ms: u64) -> Result<(), UpdateError> {
        let latest = self.source.fetch(TIMESTAMP, MAX_TIMESTAMP).await;
        let latest = latest.map_err(|error| UpdateError::Fetch(error.to_string()))?;
        let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let now = Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX);
        if self.state().timestamp.as_deref() == Some(&latest) {
            return self.check_expiry(now);
        }
        let bundle = self.trust.update(Arc::clone(&self.source), now).await?;
        self.put_into_force(bundle);
        self.state().timestamp = Some(latest);
        Ok(())
    }

    fn put_into_force(&self, bundle: Bundle) {
        let current = self.membership.current();
        if current.as_deref() == Some(&bundle) {
            return;
        }
        info!(version = bundle.version, members = bundle.members.len(), expires = %bundle.expires, "a new members list is in force");
        #[expect(clippy::cast_precision_loss, reason = "a metric of a small number")]
        gauge!("luxchat_federation_members_version").set(bundle.version as f64);
        self.membership.update(bundle);
    }

    /// The source has nothing newer than what is in force, which may have expired meanwhile.
    fn check_expiry(&self, now: Timestamp) -> Result<(), UpdateError> {
        match self.membership.current() {
            Some(list) if list.expires <= now => Err(UpdateError::Expired {
                role: "timestamp",
                at: list.expires,
            }),
            _ => Ok(()),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source that does not answer is an outage; anything else may be an attack.
fn report(error: &UpdateError) {
    match error {
        UpdateError::Fetch(_) | UpdateError::Missing(_) => {
            warn!(%error, "the members list could not be looked for");
        }
        _ => error!(%error, "a members list is refused; the last good one stays in force"),
    }
}
