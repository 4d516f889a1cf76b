//! Who is asking.

use std::{ops::Deref, sync::Arc};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::{header::AUTHORIZATION, request::Parts};
use luxchat_http::ApiError;

use crate::{State, error::Error};

/// The session of an authenticated request. Endpoints that need one take it as an argument, before the body.
///
/// `Option<Session>` is for endpoints that may be asked with or without a token; a wrong token is an error there, too.
///
/// # Errors
///
/// 401 `M_MISSING_TOKEN`, `M_UNKNOWN_TOKEN` (with `soft_logout` where the session lives on) or `M_USER_LOCKED`; 429
/// `M_LIMIT_EXCEEDED`.
#[derive(Clone, Debug)]
pub(crate) struct Session(Arc<luxchat_accounts::Session>);

impl Deref for Session {
    type Target = luxchat_accounts::Session;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl FromRequestParts<State> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        let session = optional(parts, state).await?;
        session.ok_or_else(|| ApiError::missing_token().into())
    }
}

impl OptionalFromRequestParts<State> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Option<Self>, Error> {
        optional(parts, state).await
    }
}

async fn optional(parts: &mut Parts, state: &State) -> Result<Option<Session>, Error> {
    let Some(token) = access_token(parts)? else {
        return Ok(None);
    };
    let session = state.accounts.authenticate(&token).await?;
    if let Some(limiter) = state.limiter() {
        limiter.check_user(session.user_nid)?;
    }
    Ok(Some(Session(session)))
}

/// The token of the `Authorization` header, else that of the query.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens).
fn access_token(parts: &Parts) -> Result<Option<String>, Error> {
    if let Some(header) = parts.headers.get(AUTHORIZATION) {
        let token = header.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| token.trim().to_owned())
        });
        return match token {
            Some(token) => Ok(Some(token)),
            None => Err(ApiError::missing_token().into()),
        };
    }
    let query = parts.uri.query().unwrap_or_default();
    Ok(url_query_value(query, "access_token"))
}

/// The first value of `key` in a query string. Access tokens bear nothing that needs percent-encoding.
fn url_query_value(query: &str, key: &str) -> Option<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value.to_owned())
}
