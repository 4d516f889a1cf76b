//! Prometheus metrics of the whole process.

use std::{fmt, sync::OnceLock, time::Duration};

use axum::{extract::State, response::IntoResponse};
use http::header::CONTENT_TYPE;
use metrics::gauge;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::Services;

/// How often samples are counted into their histograms. Until then each takes memory of its own.
const COUNT_PERIOD: Duration = Duration::from_secs(5);

/// Upper bounds of the histograms' buckets. Every histogram of this system measures seconds.
const BUCKETS: [f64; 14] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The one recorder of this process, whatever number of boxes it holds.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Where the process's metrics are read.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// The process's metrics; the first call starts recording them.
    pub fn of_process() -> Self {
        let handle = RECORDER.get_or_init(|| {
            let recorder = PrometheusBuilder::new()
                .set_buckets(&BUCKETS)
                .expect("there are buckets")
                .build_recorder();
            let handle = recorder.handle();
            // Another recorder would have to be installed by this process itself; then its metrics go there.
            let _ = metrics::set_global_recorder(recorder);
            handle
        });
        Self(handle.clone())
    }

    /// The metrics in Prometheus's text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Counts samples into their histograms for as long as it is polled, so that they do not pile up where nobody asks for
    /// the metrics.
    pub async fn keep_counting(self) {
        let mut ticks = tokio::time::interval(COUNT_PERIOD);
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

pub(crate) async fn render(State(services): State<Services>) -> impl IntoResponse {
    // Without an answer of the store the other metrics are wanted all the more.
    if let Ok(incomplete) = services.rooms.partial_rooms().await {
        gauge!("luxchat_rooms_incomplete").set(count(incomplete.rooms));
        gauge!("luxchat_rooms_incomplete_failing").set(count(incomplete.failing));
    }
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        services.metrics.render(),
    )
}

#[expect(clippy::cast_precision_loss, reason = "no box has that many rooms")]
fn count(rooms: u64) -> f64 {
    rooms as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_shows_its_buckets() {
        let metrics = Metrics::of_process();
        metrics::histogram!("test_seconds").record(0.003);
        let text = metrics.render();
        assert!(text.contains("# TYPE test_seconds histogram"), "{text}");
        assert!(
            text.contains("test_seconds_bucket{le=\"0.0025\"} 0"),
            "{text}"
        );
        assert!(
            text.contains("test_seconds_bucket{le=\"0.005\"} 1"),
            "{text}"
        );
        assert!(text.contains("test_seconds_count 1"), "{text}");
    }
}
