//! Who is asking, and what they may do.

use std::{ops::Deref, sync::Arc};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::{StatusCode, header::AUTHORIZATION, request::Parts};
use luxchat_accounts::Error as AccountsError;
use luxchat_http::ApiError;
use ruma::{MilliSecondsSinceUnixEpoch, UserId, api::error::ErrorKind};

use crate::{State, address::ClientAddress, error::Error, guests, service};

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

/// The session of whoever wants to log out, which a locked account may as well.
///
/// # Errors
///
/// As [`Session`], without `M_USER_LOCKED`.
#[derive(Clone, Debug)]
pub(crate) struct LeavingSession(pub(crate) Session);

impl Session {
    /// Makes sure that a path's user is the one who asks.
    ///
    /// # Errors
    ///
    /// 403 `M_FORBIDDEN`.
    pub(crate) fn check_is(&self, user_id: &UserId) -> Result<(), Error> {
        if self.user_id == user_id {
            Ok(())
        } else {
            Err(ApiError::forbidden("This belongs to another user").into())
        }
    }

    /// When an event is to seem to have been sent: application services alone may say.
    /// [Spec](https://spec.matrix.org/v1.19/application-service-api/#timestamp-massaging).
    pub(crate) fn massaged(
        &self,
        timestamp: Option<MilliSecondsSinceUnixEpoch>,
    ) -> Option<MilliSecondsSinceUnixEpoch> {
        timestamp.filter(|_| self.service.is_some())
    }

    /// Makes sure that the request is made with a device: an application service may have named none.
    ///
    /// # Errors
    ///
    /// 400 `M_MISSING_PARAM`.
    pub(crate) fn check_device(&self) -> Result<(), Error> {
        if self.has_device() {
            return Ok(());
        }
        Err(ApiError::missing_param("device_id: this cannot be done without a device").into())
    }

    /// Makes sure that the user may act towards others: send, join, knock, invite, change their profile.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#account-suspension).
    ///
    /// # Errors
    ///
    /// 403 `M_USER_SUSPENDED`.
    pub(crate) fn check_not_suspended(&self) -> Result<(), Error> {
        if self.is_suspended {
            let message = "Your account is suspended";
            return Err(
                ApiError::new(StatusCode::FORBIDDEN, ErrorKind::UserSuspended, message).into(),
            );
        }
        Ok(())
    }
}

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

impl FromRequestParts<State> for LeavingSession {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        let session = even_locked(parts, state).await?;
        session
            .map(Self)
            .ok_or_else(|| ApiError::missing_token().into())
    }
}

impl OptionalFromRequestParts<State> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Option<Self>, Error> {
        optional(parts, state).await
    }
}

async fn optional(parts: &mut Parts, state: &State) -> Result<Option<Session>, Error> {
    let session = even_locked(parts, state).await?;
    if session.as_ref().is_some_and(|session| session.is_locked) {
        return Err(AccountsError::Locked.into());
    }
    if session.as_ref().is_some_and(|session| session.is_guest) {
        guests::check_request(parts)?;
    }
    Ok(session)
}

async fn even_locked(parts: &mut Parts, state: &State) -> Result<Option<Session>, Error> {
    let Some(token) = access_token(parts) else {
        return Ok(None);
    };
    if let Some(found) = state.application_services.by_token(token) {
        let session = service::session(state, parts, found).await?;
        return Ok(Some(Session(session)));
    }
    let ClientAddress(address) = ClientAddress::of(parts, state.config());
    let session = match state.accounts.authenticate_to_leave(token).await {
        Ok(session) => session,
        Err(error) => {
            if let (AccountsError::UnknownToken, Some(limiter)) = (&error, state.limiter()) {
                limiter.check_address(address)?;
            }
            return Err(error.into());
        }
    };
    if let Some(limiter) = state.limiter() {
        limiter.check_user(session.user_nid)?;
    }
    state.accounts.touch(&session, address);
    Ok(Some(Session(session)))
}

/// The token of the `Authorization` header, else that of the query.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens).
pub(crate) fn access_token(parts: &Parts) -> Option<&str> {
    let token = if let Some(header) = parts.headers.get(AUTHORIZATION) {
        let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    } else {
        query_value(parts.uri.query()?, "access_token")
    };
    token.filter(|token| !token.is_empty())
}

/// The first value of `key`. It stays as it is: tokens bear nothing that needs percent-encoding.
fn query_value<'q>(query: &'q str, key: &str) -> Option<&'q str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(uri: &str, header: Option<&str>) -> Option<String> {
        let mut request = http::Request::builder().uri(uri);
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        access_token(&parts).map(ToOwned::to_owned)
    }

    #[test]
    fn the_header_goes_before_the_query() {
        assert_eq!(token("/x?access_token=q", None).as_deref(), Some("q"));
        assert_eq!(
            token("/x?a=b&access_token=q&c", Some("Bearer h")).as_deref(),
            Some("h")
        );
        assert_eq!(token("/x", Some("bearer  h")).as_deref(), Some("h"));
        assert_eq!(token("/x?access_token=q", Some("Basic h")), None);
        assert_eq!(token("/x?no_access_token=q", None), None);
        for nothing in ["/x", "/x?access_token=", "/x?access_token"] {
            assert_eq!(token(nothing, None), None);
            assert_eq!(token(nothing, Some("Bearer ")), None);
        }
    }
}
