//! <https://spec.matrix.org/v1.19/client-server-api/#account-registration>

use axum::Router;
use http::StatusCode;
use luxchat_accounts::{Error as AccountsError, NewAccount, NewDevice};
use luxchat_application_services::Service;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply, Sparse};
use ruma::{
    OwnedUserId, UserId,
    api::{
        client::account::{
            check_registration_token_validity::v1 as token_validity,
            get_username_availability::v3 as availability,
            register::{LoginType, RegistrationKind, v3 as register},
        },
        error::ErrorKind,
    },
};

use crate::{
    State,
    address::ClientAddress,
    error::{Answer, SparseAnswer},
    service::{Claim, check_user},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<register::Request, _>(register)
        .endpoint::<availability::Request, _>(is_available)
        .endpoint::<token_validity::Request, _>(is_token_valid)
}

async fn register(
    state: State,
    ClientAddress(address): ClientAddress,
    claim: Claim,
    Matrix(request): Matrix<register::Request>,
) -> SparseAnswer<register::Response> {
    if request.login_type == Some(LoginType::ApplicationService) {
        return register_for_service(&state, &*claim.proven()?, request).await;
    }
    if let Some(limiter) = state.limiter() {
        limiter.check_login(address)?;
    }
    if request.kind == RegistrationKind::Guest {
        return register_guest(&state, request).await;
    }
    if request.login_type.is_some() {
        let message = "Only m.login.application_service is known";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, ErrorKind::Unknown, message).into());
    }
    state.accounts.check_registration_is_possible()?;
    if let Some(token) = request.guest_access_token.clone() {
        return upgrade_guest(&state, &token, request).await;
    }
    // What cannot work is said before the client goes through the stages.
    if let Some(username) = &request.username {
        state.accounts.check_username(username).await?;
        check_not_reserved(&state, username)?;
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
    let device = NewDevice {
        device_id: request.device_id,
        display_name: request.initial_device_display_name,
        refresh: request.refresh_token,
    };
    answer(&state, user_id, device, request.inhibit_login).await
}

/// Anybody becomes a guest, where the site takes any.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#guest-access).
async fn register_guest(
    state: &State,
    request: register::Request,
) -> SparseAnswer<register::Response> {
    let name = request.initial_device_display_name;
    let login = match state.accounts.create_guest(name).await {
        Err(AccountsError::RegistrationDisabled) => {
            let message = "Guests cannot register here";
            let kind = ErrorKind::GuestAccessForbidden;
            return Err(ApiError::new(StatusCode::FORBIDDEN, kind, message).into());
        }
        made => made?,
    };
    let mut response = register::Response::new(login.user_id);
    response.access_token = Some(login.access_token);
    response.device_id = Some(login.device_id);
    response.expires_in = login.expires_in;
    Ok(Sparse(response))
}

/// A guest registers, and keeps their user id.
async fn upgrade_guest(
    state: &State,
    token: &str,
    request: register::Request,
) -> SparseAnswer<register::Response> {
    let guest = state.accounts.authenticate(token).await?;
    if !guest.is_guest {
        return Err(ApiError::forbidden("The token is not a guest's").into());
    }
    if request.username.as_deref() != Some(guest.user_id.localpart()) {
        let message = "username must be the local part of the guest's user id";
        let kind = ErrorKind::InvalidUsername;
        return Err(ApiError::new(StatusCode::BAD_REQUEST, kind, message).into());
    }
    let password = request
        .password
        .ok_or_else(|| ApiError::missing_param("password is missing"))?;
    state.accounts.check_password(&password)?;
    let proof = state
        .accounts
        .confirm_registration(request.auth.as_ref())
        .await?;
    let upgraded = state.accounts.upgrade_guest(&guest, password, proof);
    upgraded.await?;
    let device = NewDevice {
        device_id: request.device_id,
        display_name: request.initial_device_display_name,
        refresh: request.refresh_token,
    };
    answer(state, guest.user_id.clone(), device, request.inhibit_login).await
}

/// An application service makes an account within its namespace, without a password.
/// [Spec](https://spec.matrix.org/v1.19/application-service-api/#server-admin-style-permissions).
async fn register_for_service(
    state: &State,
    service: &Service,
    request: register::Request,
) -> SparseAnswer<register::Response> {
    let name = request
        .username
        .ok_or_else(|| ApiError::missing_param("username is missing"))?;
    let user_id =
        UserId::parse_with_server_name(name, state.store.server_name()).map_err(|error| {
            let kind = ErrorKind::InvalidUsername;
            ApiError::new(StatusCode::BAD_REQUEST, kind, error.to_string())
        })?;
    check_user(state, &user_id, Some(service))?;
    state.accounts.create_for_service(&user_id).await?;
    let device = NewDevice {
        device_id: request.device_id,
        display_name: request.initial_device_display_name,
        refresh: request.refresh_token,
    };
    answer(state, user_id, device, request.inhibit_login).await
}

/// Says what account was made, and logs it in unless the client wants no login.
async fn answer(
    state: &State,
    user_id: OwnedUserId,
    device: NewDevice,
    inhibit_login: bool,
) -> SparseAnswer<register::Response> {
    let mut response = register::Response::new(user_id);
    if !inhibit_login {
        let login = state.accounts.login_new(&response.user_id, device).await?;
        response.access_token = Some(login.access_token);
        response.device_id = Some(login.device_id);
        response.refresh_token = login.refresh_token;
        response.expires_in = login.expires_in;
    }
    Ok(Sparse(response))
}

/// Makes sure that a name, valid by itself, is no application service's.
fn check_not_reserved(state: &State, username: &str) -> Result<(), ApiError> {
    let server_name = state.store.server_name();
    match UserId::parse_with_server_name(username.to_lowercase(), server_name) {
        Ok(user_id) => check_user(state, &user_id, None),
        Err(error) => Err(ApiError::invalid_param(error.to_string())),
    }
}

async fn is_available(
    state: State,
    ClientAddress(address): ClientAddress,
    Matrix(request): Matrix<availability::Request>,
) -> Answer<availability::Response> {
    if let Some(limiter) = state.limiter() {
        limiter.check_login(address)?;
    }
    state.accounts.check_registration_is_possible()?;
    state.accounts.check_username(&request.username).await?;
    check_not_reserved(&state, &request.username)?;
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

#[cfg(test)]
mod tests {
    use http::Method;
    use luxchat_accounts::{Config as AccountsConfig, Registration};
    use serde_json::{Value, json};

    use crate::{
        Config,
        testing::{Answered, PASSWORD, Server},
    };

    fn server(registration: Registration) -> Server {
        let accounts = AccountsConfig {
            registration,
            ..AccountsConfig::default()
        };
        Server::with(accounts, Config::default())
    }

    fn open() -> Server {
        server(Registration {
            open: true,
            ..Registration::default()
        })
    }

    async fn register(server: &Server, body: Value) -> Answered {
        let path = "/_matrix/client/v3/register";
        server.send(Method::POST, path, None, body).await
    }

    #[tokio::test]
    async fn registration_is_closed_unless_opened() {
        let server = server(Registration::default());
        // Nor does anybody learn who is here.
        server.user("alice").await;
        for name in ["alice", "bob"] {
            let body = json!({ "username": name, "password": PASSWORD });
            assert_eq!(register(&server, body).await.error(), (403, "M_FORBIDDEN"));
            let path = format!("/_matrix/client/v3/register/available?username={name}");
            let asked = server.send(Method::GET, &path, None, Value::Null).await;
            assert_eq!(asked.error(), (403, "M_FORBIDDEN"));
        }
    }

    #[tokio::test]
    async fn anyone_registers_where_it_is_open() {
        let server = open();
        let mut body = json!({ "username": "Alice", "password": PASSWORD, "device_id": "PHONE" });
        let challenge = register(&server, body.clone()).await;
        assert_eq!(challenge.status, 401);
        assert_eq!(
            challenge.body["flows"],
            json!([{ "stages": ["m.login.dummy"] }])
        );
        assert_eq!(challenge.body["params"], json!({}));
        body["auth"] = json!({ "type": "m.login.dummy", "session": challenge.body["session"] });
        let made = register(&server, body.clone()).await.ok();
        assert_eq!(made["user_id"], "@alice:example.org");
        assert_eq!(made["device_id"], "PHONE");
        let token = made["access_token"].as_str().unwrap();
        let path = "/_matrix/client/v3/account/whoami";
        assert_eq!(server.get(path, token).await.ok()["device_id"], "PHONE");
        assert_eq!(
            register(&server, body).await.error(),
            (400, "M_USER_IN_USE")
        );
    }

    #[tokio::test]
    async fn a_client_may_register_without_logging_in() {
        let server = open();
        let body = json!({
            "password": PASSWORD,
            "inhibit_login": true,
            "auth": { "type": "m.login.dummy" },
        });
        let made = register(&server, body).await.ok();
        assert!(made["user_id"].as_str().unwrap().ends_with(":example.org"));
        assert_eq!(made.get("access_token"), None);
    }

    #[tokio::test]
    async fn what_cannot_be_registered_is_said_at_once() {
        let server = open();
        for (body, expected) in [
            (json!({ "username": "a b" }), (400, "M_INVALID_USERNAME")),
            (json!({ "password": "short" }), (400, "M_WEAK_PASSWORD")),
            (
                json!({ "auth": { "type": "m.login.dummy" } }),
                (400, "M_MISSING_PARAM"),
            ),
            (
                json!({ "type": "m.login.application_service" }),
                (401, "M_MISSING_TOKEN"),
            ),
            (json!({ "username": 7 }), (400, "M_BAD_JSON")),
        ] {
            let answer = register(&server, body.clone()).await;
            assert_eq!(answer.error(), expected, "{body}");
        }
        let path = "/_matrix/client/v3/register?kind=guest";
        let guest = server.send(Method::POST, path, None, json!({})).await;
        assert_eq!(guest.error(), (403, "M_GUEST_ACCESS_FORBIDDEN"));
    }

    #[tokio::test]
    async fn a_registration_token_opens_the_door_once() {
        let server = server(Registration {
            token: true,
            ..Registration::default()
        });
        let name = Some("welcome".to_owned());
        let accounts = &server.services.accounts;
        accounts
            .create_registration_token(name, Some(1), None)
            .await
            .unwrap();
        let path = "/_matrix/client/v1/register/m.login.registration_token/validity?token=welcome";
        let is_valid = async || {
            let answer = server.send(Method::GET, path, None, Value::Null).await;
            answer.ok()["valid"].as_bool().unwrap()
        };
        assert!(is_valid().await);

        let mut body = json!({ "username": "alice", "password": PASSWORD });
        let challenge = register(&server, body.clone()).await.body;
        let stages = json!([{ "stages": ["m.login.registration_token"] }]);
        assert_eq!(challenge["flows"], stages);
        let auth = |token: &str| {
            json!({
                "type": "m.login.registration_token",
                "token": token,
                "session": challenge["session"],
            })
        };
        body["auth"] = auth("hello");
        let refused = register(&server, body.clone()).await;
        assert_eq!(refused.error(), (401, "M_UNAUTHORIZED"));
        assert_eq!(refused.body["session"], challenge["session"]);
        body["auth"] = auth("welcome");
        register(&server, body).await.ok();
        assert!(!is_valid().await);
    }

    #[tokio::test]
    async fn a_name_is_available_until_it_is_taken() {
        let server = open();
        let ask = async |name: &str| {
            let path = format!("/_matrix/client/v3/register/available?username={name}");
            server.send(Method::GET, &path, None, Value::Null).await
        };
        assert_eq!(ask("alice").await.ok(), json!({ "available": true }));
        server.user("alice").await;
        assert_eq!(ask("alice").await.error(), (400, "M_USER_IN_USE"));
        assert_eq!(ask("a%20b").await.error(), (400, "M_INVALID_USERNAME"));
        let path = "/_matrix/client/v3/register/available";
        let bare = server.send(Method::GET, path, None, Value::Null).await;
        assert_eq!(bare.error(), (400, "M_MISSING_PARAM"));
    }
}
