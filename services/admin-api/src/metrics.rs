//! Prometheus metrics of the whole process.

use std::{fmt, sync::OnceLock};

use axum::{extract::State, response::IntoResponse};
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::Services;

/// The one recorder of this process, whatever number of boxes it holds.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Where the process's metrics are read.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// The process's metrics; the first call starts recording them.
    pub fn of_process() -> Self {
        let handle = RECORDER.get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            // Another recorder would have to be installed by this process itself; then its metrics go there.
            let _ = metrics::set_global_recorder(recorder);
            handle
        });
        Self(handle.clone())
    }

    /// The metrics in Prometheus's text format.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

pub(crate) async fn render(State(services): State<Services>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        services.metrics.render(),
    )
}
