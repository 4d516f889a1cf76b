//! [Format](https://element-hq.github.io/synapse/latest/admin_api/user_admin_api.html).

use axum::{
    Json, Router,
    routing::{get, post, put},
};
use http::StatusCode;
use luxchat_accounts::{Error as AccountsError, NewAccount, NewDevice};
use luxchat_http::{ApiError, Path};
use luxchat_store::{Account, AccountFilter, Device, ReadTx};
use ruma::{OwnedDeviceId, OwnedUserId, UserId, events::room::member::MembershipState};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, Asked, Body, OfUser, page};
use crate::{State, endpoints::account::leave_all_rooms, error::Error, service::check_user};

pub(super) fn routes() -> Router<State> {
    let v1 = |path: &str| format!("/_synapse/admin/v1/{path}");
    let v2 = |path: &str| format!("/_synapse/admin/v2/{path}");
    Router::new()
        .route(&v2("users"), get(list))
        .route("/_synapse/admin/v3/users", get(list))
        .route(&v2("users/{user_id}"), get(show).put(put_user))
        .route(&v1("deactivate/{user_id}"), post(deactivate))
        .route(&v1("reset_password/{user_id}"), post(reset_password))
        .route(&v1("whois/{user_id}"), get(whois))
        .route(&v1("users/{user_id}/joined_rooms"), get(joined_rooms))
        .route(&v1("users/{user_id}/admin"), get(is_admin).put(set_admin))
        .route(&v1("users/{user_id}/login"), post(log_in))
        .route(&v2("users/{user_id}/devices"), get(devices))
        .route(
            &v2("users/{user_id}/devices/{device_id}"),
            get(device).delete(delete_device),
        )
        .route(&v2("users/{user_id}/delete_devices"), post(delete_devices))
        .route(&v1("suspend/{user_id}"), put(suspend))
        .route(&v1("username_available"), get(is_available))
}

#[derive(Deserialize)]
struct Filter {
    #[serde(default)]
    from: u64,
    limit: Option<u32>,
    name: Option<String>,
    user_id: Option<String>,
    admins: Option<bool>,
    #[serde(default)]
    deactivated: bool,
    #[serde(default)]
    locked: bool,
}

async fn list(state: State, _: Admin, Asked(filter): Asked<Filter>) -> Result<Json<Value>, Error> {
    let (from, limit) = (filter.from, page(filter.limit));
    let name = filter.name.or(filter.user_id);
    let accounts = AccountFilter {
        name: name.map(|name| name.to_lowercase()),
        admins: filter.admins,
        deactivated: filter.deactivated,
        locked: filter.locked,
    };
    let (total, users) = state
        .store
        .read(move |tx| {
            let (total, accounts) = tx.filtered_accounts(&accounts, from, limit)?;
            let users = accounts.iter().map(|account| {
                let mut user = written(tx, account)?;
                user["creation_ts"] = account.created_ts.into();
                Ok(user)
            });
            let users: Result<Vec<Value>, luxchat_store::Error> = users.collect();
            Ok::<_, luxchat_store::Error>((total, users?))
        })
        .await?;
    let next = from + users.len() as u64;
    let mut answer = json!({ "users": users, "total": total });
    if next < total {
        answer["next_token"] = next.to_string().into();
    }
    Ok(Json(answer))
}

async fn show(state: State, _: Admin, OfUser(user_id): OfUser) -> Result<Json<Value>, Error> {
    answer(&state, &user_id).await.map(Json)
}

async fn answer(state: &State, user_id: &UserId) -> Result<Value, Error> {
    let account = state.accounts.account(user_id).await?;
    let read = state.store.read(move |tx| written(tx, &account));
    Ok(read.await?)
}

/// An account as it is listed.
fn written(tx: &ReadTx<'_>, account: &Account) -> Result<Value, luxchat_store::Error> {
    let devices = tx.devices(account.user_nid)?.into_iter();
    let last_seen = devices.filter_map(|device| device.last_seen_ts).max();
    let field = |name| tx.profile_field(account.user_nid, name);
    Ok(json!({
        "name": account.user_id,
        "displayname": field("displayname")?,
        "avatar_url": field("avatar_url")?,
        "admin": account.is_admin,
        "deactivated": account.is_deactivated,
        "locked": account.is_locked,
        "suspended": account.is_suspended,
        "erased": tx.erased_at(account.user_nid)?.is_some(),
        "shadow_banned": false,
        "is_guest": tx.is_guest(account.user_nid)?,
        "user_type": null,
        "threepids": [],
        "external_ids": [],
        // In a list, milliseconds.
        "creation_ts": account.created_ts / 1_000,
        "last_seen_ts": last_seen,
    }))
}

/// What an account is to be like; what is left out stays.
#[derive(Deserialize)]
struct Wanted {
    password: Option<String>,
    #[serde(default = "yes")]
    logout_devices: bool,
    displayname: Option<String>,
    avatar_url: Option<String>,
    admin: Option<bool>,
    deactivated: Option<bool>,
    locked: Option<bool>,
}

fn yes() -> bool {
    true
}

async fn put_user(
    state: State,
    admin: Admin,
    OfUser(user_id): OfUser,
    Body(wanted): Body<Wanted>,
) -> Result<(StatusCode, Json<Value>), Error> {
    let accounts = &state.accounts;
    let status = match accounts.account(&user_id).await {
        Ok(account) => {
            if wanted.deactivated == Some(false) && account.is_deactivated {
                let message = "A deactivated account never comes back on this server";
                return Err(ApiError::bad_request(message).into());
            }
            if let Some(password) = wanted.password {
                accounts
                    .set_password(&user_id, password, wanted.logout_devices)
                    .await?;
            }
            if let Some(is_admin) = wanted.admin {
                change_admin(&state, &admin, &user_id, is_admin).await?;
            }
            StatusCode::OK
        }
        Err(AccountsError::NoSuchAccount) if user_id.server_name() == state.store.server_name() => {
            check_user(&state, &user_id, None)?;
            let account = NewAccount {
                username: Some(user_id.localpart().to_owned()),
                password: wanted.password,
                is_admin: wanted.admin.unwrap_or_default(),
            };
            accounts.create(account).await?;
            StatusCode::CREATED
        }
        Err(error) => return Err(error.into()),
    };
    let profile = [
        ("displayname", wanted.displayname),
        ("avatar_url", wanted.avatar_url),
    ];
    for (field, value) in profile {
        if let Some(value) = value {
            let set = accounts.set_profile_field_of(&user_id, field, value.into());
            set.await?;
            state.rooms.update_profile(&user_id).await?;
        }
    }
    if let Some(locked) = wanted.locked {
        accounts.set_locked(&user_id, locked).await?;
    }
    if wanted.deactivated == Some(true) {
        end(&state, &user_id, false).await?;
    }
    let answer = answer(&state, &user_id).await?;
    Ok((status, Json(answer)))
}

#[derive(Deserialize)]
struct Deactivate {
    #[serde(default)]
    erase: bool,
}

async fn deactivate(
    state: State,
    _: Admin,
    OfUser(user_id): OfUser,
    Body(request): Body<Deactivate>,
) -> Result<Json<Value>, Error> {
    state.accounts.account(&user_id).await?;
    end(&state, &user_id, request.erase).await?;
    Ok(Json(json!({ "id_server_unbind_result": "success" })))
}

async fn end(state: &State, user_id: &UserId, erase: bool) -> Result<(), Error> {
    leave_all_rooms(state, user_id).await?;
    Ok(state.accounts.deactivate(user_id, erase).await?)
}

#[derive(Deserialize)]
struct Password {
    new_password: String,
    #[serde(default = "yes")]
    logout_devices: bool,
}

async fn reset_password(
    state: State,
    _: Admin,
    OfUser(user_id): OfUser,
    Body(request): Body<Password>,
) -> Result<Json<Value>, Error> {
    let (password, logout) = (request.new_password, request.logout_devices);
    state
        .accounts
        .set_password(&user_id, password, logout)
        .await?;
    Ok(Json(json!({})))
}

async fn whois(state: State, _: Admin, OfUser(user_id): OfUser) -> Result<Json<Value>, Error> {
    let devices = devices_of(&state, &user_id).await?;
    let devices: serde_json::Map<String, Value> = devices
        .into_iter()
        .map(|device| {
            let connection = json!({
                "ip": device.last_seen_ip,
                "last_seen": device.last_seen_ts,
                "user_agent": null,
            });
            let sessions = json!({ "sessions": [{ "connections": [connection] }] });
            (device.device_id.to_string(), sessions)
        })
        .collect();
    Ok(Json(json!({ "user_id": user_id, "devices": devices })))
}

async fn joined_rooms(
    state: State,
    _: Admin,
    OfUser(user_id): OfUser,
) -> Result<Json<Value>, Error> {
    let rooms = state
        .store
        .read(move |tx| {
            let Some(user) = tx.user_nid(&user_id)? else {
                return Ok(Vec::new());
            };
            let rooms = tx.rooms_of_user(user, &MembershipState::Join)?.into_iter();
            let rooms = rooms.map(|room| tx.room_id(room));
            rooms.collect::<Result<Vec<_>, luxchat_store::Error>>()
        })
        .await?;
    Ok(Json(json!({ "total": rooms.len(), "joined_rooms": rooms })))
}

async fn is_admin(state: State, _: Admin, OfUser(user_id): OfUser) -> Result<Json<Value>, Error> {
    let account = state.accounts.account(&user_id).await?;
    Ok(Json(json!({ "admin": account.is_admin })))
}

#[derive(Deserialize)]
struct SetAdmin {
    admin: bool,
}

async fn set_admin(
    state: State,
    admin: Admin,
    OfUser(user_id): OfUser,
    Body(request): Body<SetAdmin>,
) -> Result<Json<Value>, Error> {
    change_admin(&state, &admin, &user_id, request.admin).await?;
    Ok(Json(json!({})))
}

/// Nobody takes the last power from themselves by accident.
async fn change_admin(
    state: &State,
    admin: &Admin,
    user_id: &UserId,
    is_admin: bool,
) -> Result<(), Error> {
    if admin.user_id == user_id && !is_admin {
        return Err(ApiError::bad_request("You may not demote yourself.").into());
    }
    Ok(state.accounts.set_admin(user_id, is_admin).await?)
}

/// Logs in as a user, on a device that they see in their list.
async fn log_in(state: State, admin: Admin, OfUser(user_id): OfUser) -> Result<Json<Value>, Error> {
    if admin.user_id == user_id {
        let message = "Cannot use admin API to login as self";
        return Err(ApiError::bad_request(message).into());
    }
    let device = NewDevice {
        display_name: Some(format!("Login by {}", admin.user_id)),
        ..NewDevice::default()
    };
    let login = state.accounts.login_of_service(&user_id, device).await?;
    Ok(Json(json!({ "access_token": login.access_token })))
}

async fn devices(state: State, _: Admin, OfUser(user_id): OfUser) -> Result<Json<Value>, Error> {
    let devices = devices_of(&state, &user_id).await?;
    let devices: Vec<Value> = devices
        .into_iter()
        .map(|device| written_device(device, &user_id))
        .collect();
    Ok(Json(json!({ "total": devices.len(), "devices": devices })))
}

async fn devices_of(state: &State, user_id: &UserId) -> Result<Vec<Device>, Error> {
    let user = state.accounts.account(user_id).await?.user_nid;
    Ok(state.store.read(move |tx| tx.devices(user)).await?)
}

fn written_device(device: Device, user_id: &UserId) -> Value {
    json!({
        "device_id": device.device_id,
        "display_name": device.display_name,
        "last_seen_ip": device.last_seen_ip,
        "last_seen_ts": device.last_seen_ts,
        "last_seen_user_agent": null,
        "user_id": user_id,
    })
}

async fn device(
    state: State,
    _: Admin,
    OfUser(user_id): OfUser,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Value>, Error> {
    let devices = devices_of(&state, &user_id).await?.into_iter();
    let mut found = devices.filter(|device| device.device_id == *id);
    let device = found
        .next()
        .ok_or_else(|| ApiError::not_found("No such device"))?;
    Ok(Json(written_device(device, &user_id)))
}

async fn delete_device(
    state: State,
    _: Admin,
    OfUser(user_id): OfUser,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Value>, Error> {
    let doomed = vec![OwnedDeviceId::from(id)];
    state.accounts.delete_devices_of(&user_id, doomed).await?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct Devices {
    devices: Vec<OwnedDeviceId>,
}

async fn delete_devices(
    state: State,
    _: Admin,
    OfUser(user_id): OfUser,
    Body(request): Body<Devices>,
) -> Result<Json<Value>, Error> {
    let doomed = request.devices;
    state.accounts.delete_devices_of(&user_id, doomed).await?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct Suspend {
    suspend: bool,
}

async fn suspend(
    state: State,
    _: Admin,
    OfUser(user_id): OfUser,
    Body(request): Body<Suspend>,
) -> Result<Json<Value>, Error> {
    let suspended = request.suspend;
    state.accounts.set_suspended(&user_id, suspended).await?;
    let id: OwnedUserId = user_id;
    Ok(Json(json!({ format!("user_{id}_suspended"): suspended })))
}

#[derive(Deserialize)]
struct Username {
    username: String,
}

async fn is_available(
    state: State,
    _: Admin,
    Asked(asked): Asked<Username>,
) -> Result<Json<Value>, Error> {
    state.accounts.check_username(&asked.username).await?;
    Ok(Json(json!({ "available": true })))
}
