//! <https://spec.matrix.org/v1.19/client-server-api/#legacy-api>

use axum::Router;
use http::{Method, StatusCode};
use luxchat_accounts::NewDevice;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::api::{
    IncomingRequest, Metadata,
    client::{
        session::{
            get_login_types::v3::{self as login_types, LoginType, PasswordLoginType},
            login::v3::{self as login, DiscoveryInfo, HomeserverInfo, LoginInfo, Password},
            logout::v3 as logout,
            logout_all::v3 as logout_all,
            refresh_token::v3 as refresh,
        },
        uiaa::UserIdentifier,
    },
    error::{DeserializationError, ErrorKind},
    path_builder::VersionHistory,
};
use serde::Deserialize;

use crate::{State, address::ClientAddress, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<login_types::Request, _>(login_types)
        .endpoint::<LoginRequest, _>(log_in)
        .endpoint::<refresh::Request, _>(refresh)
        .endpoint::<logout::Request, _>(logout)
        .endpoint::<logout_all::Request, _>(logout_all)
}

async fn login_types(_: Matrix<login_types::Request>) -> Answer<login_types::Response> {
    let password = LoginType::Password(PasswordLoginType::new());
    Ok(Reply(login_types::Response::new(vec![password])))
}

async fn log_in(
    state: State,
    ClientAddress(address): ClientAddress,
    Matrix(LoginRequest(request)): Matrix<LoginRequest>,
) -> Answer<login::Response> {
    if let Some(limiter) = state.limiter() {
        limiter.check_login(address)?;
    }
    let LoginInfo::Password(proof) = request.login_info else {
        let message = "Only m.login.password is supported";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, ErrorKind::Unknown, message).into());
    };
    let user = user_of(&proof)?;
    let device = NewDevice {
        device_id: request.device_id,
        display_name: request.initial_device_display_name,
        refresh: request.refresh_token,
    };
    let login = state.accounts.login(&user, proof.password, device).await?;

    let mut response = login::Response::new(login.user_id, login.access_token, login.device_id);
    response.refresh_token = login.refresh_token;
    response.expires_in = login.expires_in;
    response.well_known = state
        .config()
        .base_url
        .clone()
        .map(|url| DiscoveryInfo::new(HomeserverInfo::new(url)));
    Ok(Reply(response))
}

async fn refresh(
    state: State,
    ClientAddress(address): ClientAddress,
    Matrix(request): Matrix<refresh::Request>,
) -> Answer<refresh::Response> {
    if let Some(limiter) = state.limiter() {
        limiter.check_address(address)?;
    }
    let login = state.accounts.refresh(&request.refresh_token).await?;
    let mut response = refresh::Response::new(login.access_token);
    response.refresh_token = login.refresh_token;
    response.expires_in_ms = login.expires_in;
    Ok(Reply(response))
}

async fn logout(
    state: State,
    session: Session,
    _: Matrix<logout::Request>,
) -> Answer<logout::Response> {
    state.accounts.logout(&session).await?;
    Ok(Reply(logout::Response::new()))
}

async fn logout_all(
    state: State,
    session: Session,
    _: Matrix<logout_all::Request>,
) -> Answer<logout_all::Response> {
    state.accounts.logout_all(&session).await?;
    Ok(Reply(logout_all::Response::new()))
}

/// The user that a password is for, by the identifier or by the field that came before it.
fn user_of(proof: &Password) -> Result<String, ApiError> {
    #[expect(deprecated, reason = "old clients name the user so")]
    let legacy = proof.user.clone();
    match (&proof.identifier, legacy) {
        (Some(UserIdentifier::Matrix(matrix)), _) => Ok(matrix.user.clone()),
        (Some(_), _) => Err(ApiError::bad_request("Only m.id.user is supported")),
        (None, Some(user)) => Ok(user),
        (None, None) => Err(ApiError::missing_param("identifier is missing")),
    }
}

/// [`login::Request`], whose own parser takes it for granted that there is a `type`.
#[derive(Debug)]
struct LoginRequest(login::Request);

#[derive(Deserialize)]
struct HasType {
    #[serde(rename = "type")]
    _type: String,
}

impl Metadata for LoginRequest {
    const METHOD: Method = login::Request::METHOD;
    const RATE_LIMITED: bool = login::Request::RATE_LIMITED;
    type Authentication = <login::Request as Metadata>::Authentication;
    type PathBuilder = VersionHistory;
    const PATH_BUILDER: VersionHistory = login::Request::PATH_BUILDER;
}

impl IncomingRequest for LoginRequest {
    type EndpointError = <login::Request as IncomingRequest>::EndpointError;
    type OutgoingResponse = login::Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let _: HasType = serde_json::from_slice(request.body())?;
        login::Request::try_from_http_request_inner(request, path_args).map(Self)
    }
}
