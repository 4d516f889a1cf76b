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
    let made = user_id.clone();
    state
        .store
        .write(move |tx| tx.audit("registration secret", "user.create", made.as_str()))
        .await?;
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

#[cfg(test)]
mod tests {
    use http::Method;
    use luxchat_accounts::{Config as AccountsConfig, Registration};

    use super::*;
    use crate::{
        Config,
        testing::{PASSWORD, Server},
    };

    #[tokio::test]
    async fn there_is_nothing_without_a_secret() {
        let server = Server::new();
        let answer = server.send(Method::GET, PATH, None, Value::Null).await;
        assert_eq!(answer.error(), (403, "M_FORBIDDEN"));
    }

    #[tokio::test]
    async fn a_wrong_code_or_nonce_makes_no_account() {
        let accounts = AccountsConfig {
            registration: Registration {
                shared_secret: Some("s".to_owned()),
                ..Registration::default()
            },
            ..AccountsConfig::default()
        };
        let server = Server::with(accounts, Config::default());
        let post = async |nonce: &Value| {
            let body = json!({
                "nonce": nonce, "username": "alice", "password": PASSWORD, "mac": "00",
            });
            server.send(Method::POST, PATH, None, body).await
        };
        let nonce = server.send(Method::GET, PATH, None, Value::Null).await.ok()["nonce"].clone();
        let wrong = post(&nonce).await;
        assert_eq!(wrong.error(), (403, "M_UNKNOWN"));
        assert_eq!(wrong.body["error"], "HMAC incorrect");
        // A guess costs a nonce.
        let again = post(&nonce).await;
        assert_eq!(again.body["error"], "unrecognised nonce");
        let incomplete = server.send(Method::POST, PATH, None, json!({})).await;
        assert_eq!(incomplete.error(), (400, "M_BAD_JSON"));
        assert_eq!(
            server.log_in("alice", json!({})).await.error(),
            (403, "M_FORBIDDEN")
        );
    }
}
