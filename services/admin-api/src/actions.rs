//! What the operator does to accounts.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use http::StatusCode;
use luxchat_accounts::NewAccount;
use luxchat_store::Account;
use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::{Services, audit, error::Error};

/// Accounts on one page of a listing.
const PAGE: u32 = 500;

/// An account to make.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// The part of the user id before the colon.
    pub localpart: String,
    /// Its first password.
    pub password: String,
    /// Whether it may use the operator's API.
    #[serde(default)]
    pub admin: bool,
}

/// A password to set; all sessions of the account end.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// The new password.
    pub password: String,
}

/// Whether an account is locked.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LockUser {
    /// `true` to lock.
    pub locked: bool,
}

/// A registration token to make.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CreateRegistrationToken {
    /// How many accounts it may make; `None`: any number.
    pub uses: Option<u32>,
    /// For how many hours; `None`: for ever.
    pub hours: Option<u32>,
}

/// A registration token that was made.
#[derive(Debug, Deserialize, Serialize)]
pub struct CreatedRegistrationToken {
    /// The word to give to those who may register.
    pub token: String,
}

/// One account, as the operator sees it.
#[derive(Debug, Deserialize, Serialize)]
pub struct UserSummary {
    /// `@agent:server`
    pub user_id: String,
    /// Whether it may use the operator's API.
    pub admin: bool,
    /// Whether its sessions are refused.
    pub locked: bool,
    /// Whether it is gone for good.
    pub deactivated: bool,
}

impl UserSummary {
    /// The account's state in a word.
    pub fn state(&self) -> &'static str {
        match (self.deactivated, self.locked) {
            (true, _) => "deactivated",
            (_, true) => "locked",
            _ => "active",
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    after: String,
}

pub(crate) async fn list(
    State(services): State<Services>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<UserSummary>>, Error> {
    let after = if page.after.is_empty() {
        None
    } else {
        Some(parse(&page.after)?)
    };
    let accounts = services.accounts.list(after, PAGE).await?;
    Ok(Json(accounts.iter().map(summary).collect()))
}

pub(crate) async fn create(
    State(services): State<Services>,
    Json(new): Json<CreateUser>,
) -> Result<Json<UserSummary>, Error> {
    audit::note(&services, "user.create", &new.localpart).await?;
    let account = NewAccount {
        username: Some(new.localpart),
        password: Some(new.password),
        is_admin: new.admin,
    };
    let user_id = services.accounts.create(account).await?;
    info!("the operator made an account");
    show(&services, &user_id).await
}

pub(crate) async fn set_password(
    State(services): State<Services>,
    Path(user_id): Path<String>,
    Json(new): Json<SetPassword>,
) -> Result<Json<UserSummary>, Error> {
    let user_id = parse(&user_id)?;
    audit::note(&services, "user.set_password", user_id.as_str()).await?;
    services
        .accounts
        .set_password(&user_id, new.password, true)
        .await?;
    info!("the operator set a password");
    show(&services, &user_id).await
}

pub(crate) async fn lock(
    State(services): State<Services>,
    Path(user_id): Path<String>,
    Json(new): Json<LockUser>,
) -> Result<Json<UserSummary>, Error> {
    let user_id = parse(&user_id)?;
    let action = if new.locked {
        "user.lock"
    } else {
        "user.unlock"
    };
    audit::note(&services, action, user_id.as_str()).await?;
    services.accounts.set_locked(&user_id, new.locked).await?;
    info!(
        locked = new.locked,
        "the operator locked or unlocked an account"
    );
    show(&services, &user_id).await
}

pub(crate) async fn create_registration_token(
    State(services): State<Services>,
    Json(new): Json<CreateRegistrationToken>,
) -> Result<Json<CreatedRegistrationToken>, Error> {
    audit::note(&services, "registration_token.create", "").await?;
    let expires_ts = new
        .hours
        .map(|hours| services.store.clock().now_ms() + u64::from(hours) * 3_600_000);
    let made = services
        .accounts
        .create_registration_token(None, new.uses, expires_ts)
        .await?;
    info!("the operator made a registration token");
    Ok(Json(CreatedRegistrationToken { token: made.token }))
}

async fn show(services: &Services, user_id: &UserId) -> Result<Json<UserSummary>, Error> {
    Ok(Json(summary(&services.accounts.account(user_id).await?)))
}

fn summary(account: &Account) -> UserSummary {
    UserSummary {
        user_id: account.user_id.to_string(),
        admin: account.is_admin,
        locked: account.is_locked,
        deactivated: account.is_deactivated,
    }
}

fn parse(user_id: &str) -> Result<OwnedUserId, Error> {
    UserId::parse(user_id).map_err(|error| {
        Error::new(
            StatusCode::BAD_REQUEST,
            format!("{user_id:?} is not a user id: {error}"),
        )
    })
}
