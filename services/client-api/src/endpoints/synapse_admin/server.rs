//! The server itself, and what it is busy with.

use axum::{Json, Router, routing::get};
use serde_json::{Value, json};

use super::Admin;
use crate::State;

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/_synapse/admin/v1/server_version", get(version))
        .route(
            "/_synapse/admin/v1/background_updates/status",
            get(background_updates),
        )
}

async fn version(_: Admin) -> Json<Value> {
    let version = concat!("Luxchat Appliance ", env!("CARGO_PKG_VERSION"));
    Json(json!({ "server_version": version }))
}

/// There are none: the schema is up to date before anybody is served.
async fn background_updates(_: Admin) -> Json<Value> {
    Json(json!({ "enabled": true, "current_updates": {} }))
}
