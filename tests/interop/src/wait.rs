//! Waiting for what another server has to bring about.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// Far beyond what any step takes; only a step that never happens runs into it.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until `condition` yields something.
pub async fn eventually_some<T>(what: &str, condition: impl AsyncFn() -> Option<T>) -> Result<T> {
    let wait = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .with_context(|| format!("did not happen within {} s: {what}", PATIENCE.as_secs()))
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) -> Result<()> {
    eventually_some(what, async || condition().await.then_some(())).await
}
