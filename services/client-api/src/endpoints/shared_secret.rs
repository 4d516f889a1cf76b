//! `/_synapse/admin/v1/register`, for the tools that make accounts in numbers. There only where the site has a secret.
//! [Format](https://element-hq.github.io/synapse/latest/admin_api/register_api.html).

use axum::{
    Json, Router,
    extract::Request,
    routing::{MethodRouter, get},
};
use luxchat_accounts::{NewAccount, NewDevice, SharedSecretRequest};
use luxchat_http::{ApiError, check_json, read_body};
use serde::{Deserialize, Serialize};
use serde_json::{Value, error::Category, json};

use crate::{State, address::ClientAddress, error::Error};

const PATH: &str = "/_synapse/admin/v1/register";

pub(crate) fn routes() -> Router<State> {
    let methods: MethodRouter<State> = get(nonce).post(register);
    Router::new().route(PATH, methods)
}

#[derive(Deserialize)]
struct Registration {
    nonce: String,
    username: String,
    #[serde(default)]
    displayname: Option<String>,
    password: String,
    #[serde(default)]
    admin: bool,
    #[serde(default)]
    user_type: Option<String>,
    mac: String,
}

#[derive(Serialize)]
struct Registered {
    access_token: String,
    user_id: String,
    home_server: String,
    device_id: String,
}

async fn nonce(state: State, ClientAddress(address): ClientAddress) -> Result<Json<Value>, Error> {
    check_rate(&state, address)?;
    let nonce = state.accounts.shared_secret_nonce()?;
    Ok(Json(json!({ "nonce": nonce })))
}

async fn register(
    state: State,
    ClientAddress(address): ClientAddress,
    request: Request,
) -> Result<Json<Registered>, Error> {
    check_rate(&state, address)?;
    let Registration {
        nonce,
        username,
        displayname,
        password,
        admin,
        user_type,
        mac,
    } = parse(&state, request).await?;
    let account = NewAccount {
        username: Some(username),
        password: Some(password),
        is_admin: admin,
    };
    let request = SharedSecretRequest {
        nonce,
        account,
        user_type,
        mac,
    };
    let user_id = state.accounts.register_with_shared_secret(request).await?;
    if let Some(name) = displayname {
        state.accounts.set_display_name(&user_id, name).await?;
    }
    let login = state
        .accounts
        .login_new(&user_id, NewDevice::default())
        .await?;
    Ok(Json(Registered {
        access_token: login.access_token,
        home_server: login.user_id.server_name().to_string(),
        user_id: login.user_id.into(),
        device_id: login.device_id.into(),
    }))
}

fn check_rate(state: &State, address: Option<std::net::IpAddr>) -> Result<(), Error> {
    if let Some(limiter) = state.limiter() {
        limiter.check_login(address)?;
    }
    Ok(())
}

async fn parse(state: &State, request: Request) -> Result<Registration, Error> {
    let limits = state.config().limits;
    let (parts, body) = request.into_parts();
    let body = read_body(&parts, body, limits).await?;
    check_json(&body, limits.nesting)?;
    serde_json::from_slice(&body).map_err(|error| {
        match error.classify() {
            Category::Data => ApiError::bad_json(error.to_string()),
            _ => ApiError::not_json(error.to_string()),
        }
        .into()
    })
}
