//! <https://spec.matrix.org/v1.19/client-server-api/#account-registration>

use axum::Router;
use http::StatusCode;
use luxchat_accounts::{NewAccount, NewDevice};
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::api::{
    client::account::{
        check_registration_token_validity::v1 as token_validity,
        get_username_availability::v3 as availability,
        register::{
            RegistrationKind,
            v3::{self as register},
        },
    },
    error::ErrorKind,
};

use crate::{State, address::ClientAddress, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<register::Request, _>(register)
        .endpoint::<availability::Request, _>(is_available)
        .endpoint::<token_validity::Request, _>(is_token_valid)
}

async fn register(
    state: State,
    ClientAddress(address): ClientAddress,
    Matrix(request): Matrix<register::Request>,
) -> Answer<register::Response> {
    if let Some(limiter) = state.limiter() {
        limiter.check_login(address)?;
    }
    if request.kind == RegistrationKind::Guest {
        let message = "Guests cannot register here";
        let kind = ErrorKind::GuestAccessForbidden;
        return Err(ApiError::new(StatusCode::FORBIDDEN, kind, message).into());
    }
    if request.login_type.is_some() {
        let message = "Application services cannot register here";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, ErrorKind::Unknown, message).into());
    }
    // What cannot work is said before the client goes through the stages.
    if let Some(username) = &request.username {
        state.accounts.check_username(username).await?;
    }
    if let Some(password) = &request.password {
        state.accounts.check_password(password)?;
    }
    let proof = state
        .accounts
        .confirm_registration(request.auth.as_ref())
        .await?;
    let password = request
        .password
        .ok_or_else(|| ApiError::missing_param("password is missing"))?;
    let account = NewAccount {
        username: request.username,
        password: Some(password),
        is_admin: false,
    };
    let user_id = state.accounts.register(account, proof).await?;

    let mut response = register::Response::new(user_id);
    if !request.inhibit_login {
        let device = NewDevice {
            device_id: request.device_id,
            display_name: request.initial_device_display_name,
            refresh: request.refresh_token,
        };
        let login = state.accounts.login_new(&response.user_id, device).await?;
        response.access_token = Some(login.access_token);
        response.device_id = Some(login.device_id);
        response.refresh_token = login.refresh_token;
        response.expires_in = login.expires_in;
    }
    Ok(Reply(response))
}

async fn is_available(
    state: State,
    Matrix(request): Matrix<availability::Request>,
) -> Answer<availability::Response> {
    state.accounts.check_username(&request.username).await?;
    Ok(Reply(availability::Response::new(true)))
}

async fn is_token_valid(
    state: State,
    ClientAddress(address): ClientAddress,
    Matrix(request): Matrix<token_validity::Request>,
) -> Answer<token_validity::Response> {
    if let Some(limiter) = state.limiter() {
        limiter.check_login(address)?;
    }
    let is_valid = state.accounts.config().registration.token
        && state
            .accounts
            .is_registration_token_valid(&request.token)
            .await?;
    Ok(Reply(token_validity::Response::new(is_valid)))
}
