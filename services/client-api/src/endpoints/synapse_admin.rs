//! The API that the ecosystem's administration tools speak: `/_synapse/admin`, for administrators' access tokens, where
//! the site allows it. Every call leaves a row in the audit log before it does anything.
//! [Format](https://element-hq.github.io/synapse/latest/usage/administration/admin_api/index.html).

mod notices;
mod registration_tokens;
mod reports;
mod rooms;
mod server;
#[cfg(test)]
mod tests;
mod users;

use std::ops::Deref;

use axum::{
    Router,
    extract::{FromRequest, FromRequestParts, MatchedPath, Query, RawPathParams, Request},
};
use http::{StatusCode, request::Parts};
use luxchat_http::{ApiError, check_json, read_body};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, api::error::ErrorKind};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::{State, auth::Session, error::Error};

/// Things on one page of a list, unless the asker says how many, and at most.
const PAGE: u32 = 100;
const LONGEST_PAGE: u32 = 1_000;

/// All but `register`, which has a secret of its own.
pub(crate) fn routes() -> Router<State> {
    Router::new()
        .merge(notices::routes())
        .merge(registration_tokens::routes())
        .merge(reports::routes())
        .merge(rooms::routes())
        .merge(server::routes())
        .merge(users::routes())
}

/// The session of an administrator whose call is in the audit log.
///
/// # Errors
///
/// 404 `M_UNRECOGNIZED` where the site has not opened the API; those of [`Session`]; 403 `M_FORBIDDEN` for others.
#[derive(Clone, Debug)]
struct Admin(Session);

impl Deref for Admin {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl FromRequestParts<State> for Admin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        if !state.config().synapse_admin_api {
            let message = "This server does not serve the administration API";
            let kind = ErrorKind::Unrecognized;
            return Err(ApiError::new(StatusCode::NOT_FOUND, kind, message).into());
        }
        let session =
            <Session as FromRequestParts<State>>::from_request_parts(parts, state).await?;
        if !session.is_admin {
            return Err(ApiError::forbidden("You are not a server admin").into());
        }
        let path = parts.extensions.get::<MatchedPath>();
        let path = path.map_or(parts.uri.path(), MatchedPath::as_str);
        let action = format!("{} {path}", parts.method);
        let (actor, target) = (session.user_id.clone(), parts.uri.path().to_owned());
        state
            .store
            .write(move |tx| tx.audit(actor.as_str(), &action, &target))
            .await?;
        Ok(Self(session))
    }
}

/// The user in the path: anybody's id.
#[derive(Debug)]
struct OfUser(OwnedUserId);

impl FromRequestParts<State> for OfUser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        let id = parameter(parts, state, "user_id").await?;
        let id = UserId::parse(id).map_err(|error| ApiError::invalid_param(error.to_string()))?;
        Ok(Self(id))
    }
}

/// The room in the path.
#[derive(Debug)]
struct OfRoom(OwnedRoomId);

impl FromRequestParts<State> for OfRoom {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        let id = parameter(parts, state, "room_id").await?;
        let id = RoomId::parse(id).map_err(|error| ApiError::invalid_param(error.to_string()))?;
        Ok(Self(id))
    }
}

/// Something else that the path names last.
#[derive(Debug)]
struct Named(String);

impl FromRequestParts<State> for Named {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        parameter(parts, state, "name").await.map(Self)
    }
}

async fn parameter(parts: &mut Parts, state: &State, name: &str) -> Result<String, Error> {
    let parameters = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| ApiError::invalid_param("The path is not UTF-8"))?;
    let found = parameters.iter().find(|(key, _)| *key == name);
    let found = found.map(|(_, value)| value.to_owned());
    found.ok_or_else(|| ApiError::internal(format!("no {name} in the path")).into())
}

/// The query.
#[derive(Debug)]
struct Asked<T>(T);

impl<T: DeserializeOwned> FromRequestParts<State> for Asked<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Error> {
        let Query(query) = Query::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::invalid_param(error.body_text()))?;
        Ok(Self(query))
    }
}

/// A JSON body. None is as good as an empty object.
#[derive(Debug)]
struct Body<T>(T);

impl<T: DeserializeOwned> FromRequest<State> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &State) -> Result<Self, Error> {
        let limits = state.config().limits;
        let (parts, body) = request.into_parts();
        let body = read_body(&parts, body, limits).await?;
        check_json(&body, limits.nesting)?;
        let body = if body.is_empty() { b"{}" } else { &*body };
        let parsed = serde_json::from_slice(body).map_err(|error| match error.classify() {
            Category::Data => ApiError::bad_json(error.to_string()),
            _ => ApiError::not_json(error.to_string()),
        })?;
        Ok(Self(parsed))
    }
}

/// How many things a page may have.
fn page(limit: Option<u32>) -> u32 {
    limit.unwrap_or(PAGE).clamp(1, LONGEST_PAGE)
}
