//! <https://spec.matrix.org/v1.19/client-server-api/#legacy-api>

use axum::Router;
use http::{Method, StatusCode};
use luxchat_accounts::NewDevice;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::api::{
    IncomingRequest, Metadata,
    client::{
        session::{
            get_login_types::v3::{
                self as login_types, ApplicationServiceLoginType, LoginType, PasswordLoginType,
                TokenLoginType,
            },
            login::v3::{
                self as login, ApplicationService, DiscoveryInfo, HomeserverInfo, LoginInfo,
                Password,
            },
            logout::v3 as logout,
            logout_all::v3 as logout_all,
            refresh_token::v3 as refresh,
        },
        uiaa::UserIdentifier,
    },
    error::{DeserializationError, ErrorKind},
    path_builder::VersionHistory,
};
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use crate::{
    State,
    address::ClientAddress,
    auth::LeavingSession,
    error::Answer,
    service::{Claim, check_user},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<login_types::Request, _>(login_types)
        .endpoint::<LoginRequest, _>(log_in)
        .endpoint::<refresh::Request, _>(refresh)
        .endpoint::<logout::Request, _>(logout)
        .endpoint::<logout_all::Request, _>(logout_all)
}

async fn login_types(
    state: State,
    _: Matrix<login_types::Request>,
) -> Answer<login_types::Response> {
    let mut by_token = TokenLoginType::new();
    by_token.get_login_token = true;
    let mut flows = vec![
        LoginType::Password(PasswordLoginType::new()),
        LoginType::Token(by_token),
    ];
    if !state.application_services.all().is_empty() {
        let service = ApplicationServiceLoginType::new();
        flows.push(LoginType::ApplicationService(service));
    }
    Ok(Reply(login_types::Response::new(flows)))
}

async fn log_in(
    state: State,
    ClientAddress(address): ClientAddress,
    claim: Claim,
    Matrix(LoginRequest(request)): Matrix<LoginRequest>,
) -> Answer<login::Response> {
    let device = NewDevice {
        device_id: request.device_id,
        display_name: request.initial_device_display_name,
        refresh: request.refresh_token,
    };
    let login = match request.login_info {
        LoginInfo::Password(proof) => {
            if let Some(limiter) = state.limiter() {
                limiter.check_login(address)?;
            }
            let user = match &proof.identifier {
                Some(UserIdentifier::Email(email)) => {
                    let owner = state.accounts.email_owner(&email.address).await?;
                    // An address that nobody has is a name that nobody has: refusing either takes as long.
                    let nobody = || email.address.to_lowercase().replace('@', "=40");
                    owner.map_or_else(nobody, Into::into)
                }
                _ => user_of(&proof)?,
            };
            state.accounts.login(&user, proof.password, device).await?
        }
        LoginInfo::Token(proof) => {
            if let Some(limiter) = state.limiter() {
                limiter.check_login(address)?;
            }
            state.accounts.login_by_token(&proof.token, device).await?
        }
        LoginInfo::ApplicationService(proof) => {
            let service = claim.proven()?;
            let user_id = user_of_service(&state, &proof)?;
            check_user(&state, &user_id, Some(&*service))?;
            state.accounts.login_of_service(&user_id, device).await?
        }
        _ => {
            let message = "This type of login is not supported";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, ErrorKind::Unknown, message).into());
        }
    };

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
    LeavingSession(session): LeavingSession,
    _: Matrix<logout::Request>,
) -> Answer<logout::Response> {
    state.accounts.logout(&session).await?;
    Ok(Reply(logout::Response::new()))
}

async fn logout_all(
    state: State,
    LeavingSession(session): LeavingSession,
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
        (Some(_), _) => Err(ApiError::bad_request(
            "Only m.id.user and e-mail addresses are supported",
        )),
        (None, Some(user)) => Ok(user),
        (None, None) => Err(ApiError::missing_param("identifier is missing")),
    }
}

/// The user that an application service logs in.
fn user_of_service(state: &State, proof: &ApplicationService) -> Result<OwnedUserId, ApiError> {
    #[expect(deprecated, reason = "old services name the user so")]
    let legacy = proof.user.as_deref();
    let name = match (&proof.identifier, legacy) {
        (Some(UserIdentifier::Matrix(matrix)), _) => &matrix.user,
        (Some(_), _) => return Err(ApiError::bad_request("Only m.id.user is supported")),
        (None, Some(user)) => user,
        (None, None) => return Err(ApiError::missing_param("identifier is missing")),
    };
    let user_id = if name.starts_with('@') {
        UserId::parse(name)
    } else {
        UserId::parse_with_server_name(name, state.store.server_name())
    };
    user_id.map_err(|error| ApiError::invalid_param(error.to_string()))
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

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use crate::{
        Config,
        testing::{PASSWORD, Server},
    };

    const LOGIN: &str = "/_matrix/client/v3/login";

    #[tokio::test]
    async fn passwords_are_the_way_in() {
        let server = Server::new();
        let flows = server
            .send(Method::GET, LOGIN, None, Value::Null)
            .await
            .ok();
        let token = json!({ "type": "m.login.token", "get_login_token": true });
        let password = json!({ "type": "m.login.password" });
        assert_eq!(flows, json!({ "flows": [password, token] }));
    }

    #[tokio::test]
    async fn old_and_new_clients_name_their_user() {
        let config = Config {
            base_url: Some("https://chat.example.org".to_owned()),
            ..Config::default()
        };
        let server = Server::with(luxchat_accounts::Config::default(), config);
        server.user("alice").await;
        let body = json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD });
        let login = server.send(Method::POST, LOGIN, None, body).await.ok();
        assert_eq!(login["user_id"], "@alice:example.org");
        let base_url = &login["well_known"]["m.homeserver"]["base_url"];
        assert_eq!(base_url, "https://chat.example.org");
        assert_eq!(login.get("refresh_token"), None);
    }

    #[tokio::test]
    async fn an_e_mail_address_names_its_user() {
        let server = Server::new();
        server.user("alice").await;
        let alice = ruma::user_id!("@alice:example.org");
        server
            .services
            .store
            .write(move |tx| {
                let user = tx.user_nid(alice)?.unwrap();
                tx.insert_email_address(user, "alice@example.org", 1)
            })
            .await
            .unwrap();
        let email =
            json!({ "type": "m.id.thirdparty", "medium": "email", "address": "Alice@example.org" });
        let login = server
            .log_in("nobody", json!({ "identifier": email }))
            .await;
        assert_eq!(login.ok()["user_id"], "@alice:example.org");
    }

    #[tokio::test]
    async fn a_wrong_login_says_no_more_than_that() {
        let server = Server::new();
        server.user("alice").await;
        for (user, password) in [("alice", "wrong horse"), ("bob", PASSWORD)] {
            let refused = server.log_in(user, json!({ "password": password })).await;
            assert_eq!(refused.error(), (403, "M_FORBIDDEN"));
        }
        let email = json!({ "type": "m.id.thirdparty", "medium": "email", "address": "a@b" });
        let refused = server.log_in("alice", json!({ "identifier": email })).await;
        assert_eq!(refused.error(), (403, "M_FORBIDDEN"));
        let phone = json!({ "type": "m.id.phone", "country": "LU", "phone": "1" });
        let refused = server.log_in("alice", json!({ "identifier": phone })).await;
        assert_eq!(refused.error(), (400, "M_UNKNOWN"));
        let refused = server.log_in("alice", json!({ "identifier": null })).await;
        assert_eq!(refused.error(), (400, "M_MISSING_PARAM"));
    }

    #[tokio::test]
    async fn logging_out_ends_one_session_or_all() {
        let server = Server::new();
        let first = server.user("alice").await;
        let tokens: [String; 2] = [
            server.log_in("alice", json!({})).await.ok(),
            server.log_in("alice", json!({})).await.ok(),
        ]
        .map(|login| login["access_token"].as_str().unwrap().to_owned());
        let is_in = async |token: &str| {
            let answer = server.get("/_matrix/client/v3/account/whoami", token).await;
            answer.status == 200
        };
        server
            .post("/_matrix/client/v3/logout", &first, Value::Null)
            .await
            .ok();
        assert!(!is_in(&first).await);
        assert!(is_in(&tokens[0]).await);
        let path = "/_matrix/client/v3/logout/all";
        server.post(path, &tokens[0], json!({})).await.ok();
        assert!(!is_in(&tokens[0]).await && !is_in(&tokens[1]).await);
    }

    #[tokio::test]
    async fn a_locked_user_can_still_leave() {
        let server = Server::new();
        let token = server.user("alice").await;
        let alice = ruma::user_id!("@alice:example.org");
        server
            .services
            .accounts
            .set_locked(alice, true)
            .await
            .unwrap();
        let whoami = "/_matrix/client/v3/account/whoami";
        let refused = server.get(whoami, &token).await;
        assert_eq!(refused.error(), (401, "M_USER_LOCKED"));
        let path = "/_matrix/client/v3/logout";
        server.post(path, &token, Value::Null).await.ok();
        let refused = server.get(whoami, &token).await;
        assert_eq!(refused.error(), (401, "M_UNKNOWN_TOKEN"));
    }
}
