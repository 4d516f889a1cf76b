//! [Format](https://element-hq.github.io/synapse/latest/admin_api/server_notices.html).

use axum::{
    Json, Router,
    routing::{post, put},
};
use luxchat_http::ApiError;
use luxchat_rooms::Transaction;
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{Admin, Body, Named};
use crate::{
    State,
    error::Error,
    notices::{self, Notice},
};

const PATH: &str = "/_synapse/admin/v1/send_server_notice";

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route(PATH, post(send))
        .route(&format!("{PATH}/{{name}}"), put(send_once))
}

#[derive(Deserialize)]
struct Request {
    user_id: String,
    content: Box<RawValue>,
    #[serde(rename = "type", default = "message")]
    event_type: String,
    #[serde(default)]
    state_key: Option<String>,
}

fn message() -> String {
    "m.room.message".to_owned()
}

async fn send(state: State, _: Admin, Body(request): Body<Request>) -> Result<Json<Value>, Error> {
    answer(&state, request, None).await
}

async fn send_once(
    state: State,
    admin: Admin,
    Named(txn_id): Named,
    Body(request): Body<Request>,
) -> Result<Json<Value>, Error> {
    // The server sends; whose wish it is tells requests apart.
    let transaction = Transaction {
        device_id: format!("{} {}", admin.user_id, admin.device_id).into(),
        txn_id: txn_id.into(),
    };
    answer(&state, request, Some(transaction)).await
}

async fn answer(
    state: &State,
    request: Request,
    transaction: Option<Transaction>,
) -> Result<Json<Value>, Error> {
    let to: OwnedUserId = UserId::parse(request.user_id)
        .map_err(|error| ApiError::invalid_param(format!("user_id: {error}")))?;
    if to.server_name() != state.store.server_name() {
        let message = "Server notices can only be sent to local users";
        return Err(ApiError::bad_request(message).into());
    }
    let notice = Notice {
        event_type: request.event_type.into(),
        state_key: request.state_key,
        content: request.content,
        transaction,
    };
    let event_id = notices::send(state, &to, notice).await?;
    Ok(Json(json!({ "event_id": event_id })))
}
