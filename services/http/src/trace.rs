//! One span, one log line and one metric per request: method, route, status and time. Routes, not paths: a path may name
//! users, and a query a token.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use http::StatusCode;
use metrics::histogram;
use tracing::{Instrument, Level, debug, span, warn};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Wraps a whole router, from outside of all other layers. `api` tells the listeners of a box apart.
pub fn trace(router: axum::Router, api: &'static str) -> axum::Router {
    router.layer(from_fn_with_state(api, record))
}

async fn record(State(api): State<&'static str>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = request.method().clone();
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let span = span!(Level::INFO, "request", api, id, %method, route);
    let started = Instant::now();

    let response = next.run(request).instrument(span.clone()).await;

    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    histogram!(
        "http_request_seconds",
        "api" => api,
        "route" => route.to_owned(),
        "status" => class(response.status()),
    )
    .record(elapsed.as_secs_f64());
    let _entered = span.enter();
    if response.status().is_server_error() {
        warn!(status, ms, "answered");
    } else {
        debug!(status, ms, "answered");
    }
    response
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
