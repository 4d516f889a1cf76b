//! Application services as clients: they show one token for many users.
//! [Spec](https://spec.matrix.org/v1.19/application-service-api/#client-server-api-extensions).

use std::{convert::Infallible, sync::Arc};

use axum::extract::FromRequestParts;
use http::{StatusCode, request::Parts};
use luxchat_accounts::{Error as AccountsError, Session};
use luxchat_application_services::Service;
use luxchat_http::ApiError;
use luxchat_rooms::{AliasTarget, Error as RoomsError};
use ruma::{OwnedDeviceId, RoomAliasId, UserId, api::error::ErrorKind};
use url::form_urlencoded;

use crate::{State, auth::access_token, error::Error};

/// The application service whose token a request bears, for endpoints that are for them alone.
#[derive(Clone, Debug)]
pub(crate) enum Claim {
    /// No token.
    None,
    /// A token, but no service's.
    Other,
    /// A service's.
    Service(Arc<Service>),
}

impl Claim {
    /// The service, for what asks for its token as others ask for theirs.
    ///
    /// # Errors
    ///
    /// 401 `M_MISSING_TOKEN`, `M_UNKNOWN_TOKEN`.
    pub(crate) fn proven(self) -> Result<Arc<Service>, ApiError> {
        match self {
            Self::None => Err(ApiError::missing_token()),
            Self::Other => Err(ApiError::unknown_token(
                false,
                "The token is not an application service's",
            )),
            Self::Service(service) => Ok(service),
        }
    }
}

impl FromRequestParts<State> for Claim {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Infallible> {
        Ok(match access_token(parts) {
            None => Self::None,
            Some(token) => state
                .application_services
                .by_token(token)
                .map_or(Self::Other, |service| Self::Service(Arc::clone(service))),
        })
    }
}

/// The session of a service that acts as the user and with the device that the query names.
///
/// # Errors
///
/// 403 `M_FORBIDDEN` for a user that is not the service's or not registered, 400 `M_UNKNOWN_DEVICE`, 400
/// `M_INVALID_PARAM`.
pub(crate) async fn session(
    state: &State,
    parts: &Parts,
    service: &Service,
) -> Result<Arc<Session>, Error> {
    let query = parts.uri.query().unwrap_or_default();
    let (mut user_id, mut device_id) = (service.sender().clone(), None);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "user_id" => {
                user_id = UserId::parse(&*value)
                    .map_err(|error| ApiError::invalid_param(format!("user_id: {error}")))?;
            }
            "device_id" | "org.matrix.msc3202.device_id" => {
                device_id = Some(OwnedDeviceId::from(&*value)).filter(|_| !value.is_empty());
            }
            _ => {}
        }
    }
    if !service.owns_user(&user_id) {
        let message = "The application service cannot act as this user";
        return Err(ApiError::forbidden(message).into());
    }
    let id = Arc::from(service.id());
    let accounts = &state.accounts;
    match accounts.session_for_service(id, &user_id, device_id).await {
        Ok(session) => {
            let is_limited = service.registration().rate_limited && user_id != *service.sender();
            if let Some(limiter) = state.limiter().filter(|_| is_limited) {
                limiter.check_user(session.user_nid)?;
            }
            Ok(session)
        }
        Err(AccountsError::NoSuchAccount) => {
            let message = "The application service has not registered this user";
            Err(ApiError::forbidden(message).into())
        }
        Err(AccountsError::NoSuchDevice) => {
            let message = "The user has no such device";
            let kind = ErrorKind::UnknownDevice;
            Err(ApiError::new(StatusCode::BAD_REQUEST, kind, message).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes sure that a user id is not another service's alone, and is one of `service` where there is one.
///
/// # Errors
///
/// 400 `M_EXCLUSIVE`.
pub(crate) fn check_user(
    state: &State,
    user_id: &UserId,
    service: Option<&Service>,
) -> Result<(), ApiError> {
    let services = &state.application_services;
    let is_own = service.is_none_or(|service| service.owns_user(user_id));
    if is_own && !services.excludes_user(user_id, service.map(Service::id)) {
        return Ok(());
    }
    Err(exclusive(
        "The user id is reserved by an application service",
    ))
}

/// The same for an alias that a session makes or takes away.
///
/// # Errors
///
/// 400 `M_EXCLUSIVE`.
pub(crate) fn check_alias(
    state: &State,
    alias: &RoomAliasId,
    session: &Session,
) -> Result<(), ApiError> {
    let services = &state.application_services;
    let service = session.service.as_deref();
    let is_own = service
        .and_then(|id| services.by_id(id))
        .is_none_or(|service| service.owns_alias(alias));
    if is_own && !services.excludes_alias(alias, service) {
        return Ok(());
    }
    Err(exclusive("The alias is reserved by an application service"))
}

/// The room behind an alias. One of this server that there is not yet may be made by the service that it belongs to.
///
/// # Errors
///
/// As [`Rooms::resolve_alias`](luxchat_rooms::Rooms::resolve_alias); 408 where the service stays silent.
pub(crate) async fn resolve_alias(
    state: &State,
    alias: &RoomAliasId,
) -> Result<AliasTarget, Error> {
    match state.rooms.resolve_alias(alias).await {
        Err(error @ RoomsError::NotFound(_)) => {
            if !state.application_services.query_alias(alias).await? {
                return Err(error.into());
            }
            Ok(state.rooms.resolve_alias(alias).await?)
        }
        other => Ok(other?),
    }
}

fn exclusive(message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, ErrorKind::Exclusive, message)
}
