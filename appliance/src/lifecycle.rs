//! Starting and stopping as a systemd service: readiness, the watchdog, signals, a graceful stop with an end.

use std::{future::Future, time::Duration};

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

/// How long a stop may take before what is left is cut off.
pub const GRACE: Duration = Duration::from_secs(10);

/// Tells every task that the box is stopping, and waits for them.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// A lifecycle that nobody has asked to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the box begins to stop.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task that ends by itself soon after [`stopping`](Self::stopping) is cancelled.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Stops all tasks and waits for them, [`GRACE`] at most. Returns whether all ended in time.
    pub async fn stop(&self) -> bool {
        self.stop.cancel();
        self.tasks.close();
        let ended = timeout(GRACE, self.tasks.wait()).await.is_ok();
        if !ended {
            warn!(left = self.tasks.len(), "some tasks did not end in time");
        }
        ended
    }
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
///
/// When the handlers cannot be installed.
pub async fn asked_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal = name, "asked to stop");
    Ok(())
}

/// Tells systemd (where there is one) that the box serves, with one line for `systemctl status`.
pub fn notify_ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells systemd that the box is stopping.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Feeds systemd's watchdog, where the unit asks for it, as long as `alive` answers `true`.
pub async fn feed_watchdog<F, Fut>(stop: CancellationToken, alive: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let Some(period) = sd_notify::watchdog_enabled() else {
        return;
    };
    // Twice per period, as sd_watchdog_enabled(3) advises.
    let mut ticks = interval((period / 2).max(Duration::from_millis(100)));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // A probe that hangs is a box that hangs: the beat is missed and systemd restarts it.
        if matches!(timeout(period, alive()).await, Ok(true)) {
            notify(&[NotifyState::Watchdog]);
        } else {
            warn!("the liveness probe failed: no sign of life for the watchdog");
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd could not be notified");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stop_reaches_every_task_and_waits_for_it() {
        let lifecycle = Lifecycle::new();
        let (ended, mut endings) = tokio::sync::mpsc::channel(2);
        for _ in 0..2 {
            let (stopping, ended) = (lifecycle.stopping(), ended.clone());
            lifecycle.spawn(async move {
                stopping.cancelled().await;
                ended.send(()).await.unwrap();
            });
        }
        assert!(lifecycle.stop().await);
        assert!(endings.try_recv().is_ok() && endings.try_recv().is_ok());
    }
}
