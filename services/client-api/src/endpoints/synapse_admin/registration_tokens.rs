//! [Format](https://element-hq.github.io/synapse/latest/usage/administration/admin_api/registration_tokens.html).

use axum::{
    Json, Router,
    routing::{get, post},
};
use luxchat_http::ApiError;
use luxchat_store::RegistrationToken;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{Admin, Asked, Body, LONGEST_PAGE, Named};
use crate::{State, error::Error};

const PATH: &str = "/_synapse/admin/v1/registration_tokens";

pub(super) fn routes() -> Router<State> {
    let one = get(show).put(update).delete(delete);
    Router::new()
        .route(PATH, get(list))
        .route(&format!("{PATH}/new"), post(create))
        .route(&format!("{PATH}/{{name}}"), one)
}

#[derive(Deserialize)]
struct Filter {
    valid: Option<bool>,
}

#[derive(Deserialize)]
struct New {
    token: Option<String>,
    uses_allowed: Option<u32>,
    expiry_time: Option<u64>,
}

/// What changes.
#[derive(Deserialize)]
struct Update {
    #[serde(default)]
    uses_allowed: Change<u32>,
    #[serde(default)]
    expiry_time: Change<u64>,
}

/// What becomes of a limit.
#[derive(Default)]
enum Change<T> {
    /// The field is missing: it stays.
    #[default]
    Keep,
    /// `null` takes it away.
    To(Option<T>),
}

impl<T> Change<T> {
    fn of(self, limit: Option<T>) -> Option<T> {
        match self {
            Self::Keep => limit,
            Self::To(limit) => limit,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::To)
    }
}

async fn list(state: State, _: Admin, Asked(filter): Asked<Filter>) -> Result<Json<Value>, Error> {
    let tokens = state
        .store
        .read(|tx| tx.registration_tokens(LONGEST_PAGE))
        .await?;
    let now = state.store.clock().now_ms();
    let tokens: Vec<Value> = tokens
        .into_iter()
        .filter(|token: &RegistrationToken| {
            filter
                .valid
                .is_none_or(|valid| token.is_valid_at(now) == valid)
        })
        .map(written)
        .collect();
    Ok(Json(json!({ "registration_tokens": tokens })))
}

async fn create(state: State, _: Admin, Body(new): Body<New>) -> Result<Json<Value>, Error> {
    let made = state
        .accounts
        .create_registration_token(new.token, new.uses_allowed, new.expiry_time)
        .await?;
    Ok(Json(written(made)))
}

async fn show(state: State, _: Admin, Named(token): Named) -> Result<Json<Value>, Error> {
    let found = state.store.read(move |tx| tx.registration_token(&token));
    Ok(Json(written(found.await?.ok_or_else(unknown)?)))
}

async fn update(
    state: State,
    _: Admin,
    Named(token): Named,
    Body(update): Body<Update>,
) -> Result<Json<Value>, Error> {
    let changed = state
        .store
        .write(move |tx| {
            let Some(mut found) = tx.registration_token(&token)? else {
                return Ok(None);
            };
            found.uses_allowed = update.uses_allowed.of(found.uses_allowed);
            found.expires_ts = update.expiry_time.of(found.expires_ts);
            tx.set_registration_token_limits(&token, found.uses_allowed, found.expires_ts)?;
            Ok::<_, luxchat_store::Error>(Some(found))
        })
        .await?;
    Ok(Json(written(changed.ok_or_else(unknown)?)))
}

async fn delete(state: State, _: Admin, Named(token): Named) -> Result<Json<Value>, Error> {
    let deleted = state
        .store
        .write(move |tx| tx.delete_registration_token(&token));
    if !deleted.await? {
        return Err(unknown());
    }
    Ok(Json(json!({})))
}

fn written(token: RegistrationToken) -> Value {
    json!({
        "token": token.token,
        "uses_allowed": token.uses_allowed,
        "pending": 0,
        "completed": token.uses,
        "expiry_time": token.expires_ts,
    })
}

fn unknown() -> Error {
    ApiError::not_found("No such registration token").into()
}
