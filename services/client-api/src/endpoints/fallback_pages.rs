//! Pages for clients that do not know a way to log in, or a stage of user-interactive authentication.
//! <https://spec.matrix.org/v1.19/client-server-api/#login-fallback>
//! <https://spec.matrix.org/v1.19/client-server-api/#fallback>

use axum::{
    Router,
    response::Response,
    routing::{get, post},
};
use http::StatusCode;
use luxchat_accounts::FallbackStage;
use luxchat_http::{ApiError, Endpoints, Matrix};
use ruma::api::client::{
    session::login_fallback,
    uiaa::{AuthType, get_uiaa_fallback_page::v3 as stage_page},
};
use serde::Deserialize;

use crate::{State, address::ClientAddress, error::Error, page};

const LOGIN_SCRIPT: &str = "/_matrix/static/client/login/login.js";
const DONE_SCRIPT: &str = "/_matrix/static/client/auth_done.js";
const STAGES: [&str; 2] = [
    "/_matrix/client/r0/auth/{auth_type}/fallback/web",
    "/_matrix/client/v3/auth/{auth_type}/fallback/web",
];

pub(crate) fn routes() -> Router<State> {
    let router = Router::new()
        .endpoint::<login_fallback::Request, _>(login_page)
        .endpoint::<stage_page::Request, _>(ask)
        .route(
            LOGIN_SCRIPT,
            get(|| async { page::script(include_str!("../../pages/login.js")) }),
        )
        .route(
            DONE_SCRIPT,
            get(|| async { page::script(include_str!("../../pages/auth_done.js")) }),
        );
    let stages = STAGES.into_iter();
    stages.fold(router, |router, path| router.route(path, post(complete)))
}

async fn login_page(_: Matrix<login_fallback::Request>) -> Response {
    page::html(StatusCode::OK, include_str!("../../pages/login.html"))
}

async fn ask(Matrix(request): Matrix<stage_page::Request>) -> Result<Response, Error> {
    let form = match request.auth_type {
        AuthType::Dummy => "<form method=\"post\"><button>Go on</button></form>",
        AuthType::RegistrationToken => {
            "<form method=\"post\"><p><label>Registration token <input name=\"token\" required></label></p>\
             <button>Go on</button></form>"
        }
        _ => return Err(no_page()),
    };
    Ok(page::body(StatusCode::OK, form))
}

async fn complete(
    state: State,
    ClientAddress(address): ClientAddress,
    axum::extract::Path(auth_type): axum::extract::Path<String>,
    axum::extract::Query(of): axum::extract::Query<Session>,
    form: String,
) -> Result<Response, Error> {
    if let Some(limiter) = state.limiter() {
        limiter.check_login(address)?;
    }
    let stage = match AuthType::from(auth_type) {
        AuthType::Dummy => FallbackStage::Dummy,
        AuthType::RegistrationToken => {
            let mut fields = url::form_urlencoded::parse(form.as_bytes());
            let token = fields.find(|(name, _)| name == "token");
            let token = token.map(|(_, token)| token.into_owned());
            FallbackStage::RegistrationToken(token.unwrap_or_default())
        }
        _ => return Err(no_page()),
    };
    let done = state.accounts.complete_fallback(&of.session, stage).await?;
    Ok(if done {
        let script =
            format!("<p>Done. Go on where you began.</p><script src=\"{DONE_SCRIPT}\"></script>");
        page::body(StatusCode::OK, &script)
    } else {
        let text = "<p>That is not right, or it took too long. Go back and try again.</p>";
        page::body(StatusCode::FORBIDDEN, text)
    })
}

#[derive(Deserialize)]
struct Session {
    session: String,
}

fn no_page() -> Error {
    ApiError::not_found("There is no page for this stage").into()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::{Method, Request, header::CONTENT_TYPE};
    use luxchat_accounts::{Config as AccountsConfig, Registration};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Config,
        testing::{PASSWORD, Server},
    };

    #[tokio::test]
    async fn the_pages_are_there_with_their_scripts() {
        let server = Server::new();
        for path in ["/_matrix/static/client/login/", LOGIN_SCRIPT, DONE_SCRIPT] {
            let page = server.send(Method::GET, path, None, Value::Null).await;
            assert_eq!(page.status, StatusCode::OK, "{path}");
        }
        let path = "/_matrix/client/v3/auth/m.login.password/fallback/web?session=x";
        let page = server.send(Method::GET, path, None, Value::Null).await;
        assert_eq!(page.error(), (404, "M_NOT_FOUND"));
    }

    #[tokio::test]
    async fn a_stage_can_be_done_on_its_page() {
        let accounts = AccountsConfig {
            registration: Registration {
                token: true,
                ..Registration::default()
            },
            ..AccountsConfig::default()
        };
        let server = Server::with(accounts, Config::default());
        let tokens = &server.services.accounts;
        tokens
            .create_registration_token(Some("welcome".to_owned()), None, None)
            .await
            .unwrap();
        let register = |auth: Value| {
            let body = json!({ "username": "alice", "password": PASSWORD, "auth": auth });
            let path = "/_matrix/client/v3/register";
            server.send(Method::POST, path, None, body)
        };
        let session = register(Value::Null).await.body["session"].clone();
        let session = session.as_str().unwrap();
        let path = format!(
            "/_matrix/client/v3/auth/m.login.registration_token/fallback/web?session={session}"
        );
        let page = server.send(Method::GET, &path, None, Value::Null).await;
        assert_eq!(page.status, StatusCode::OK);

        let early = register(json!({ "session": session })).await;
        assert_eq!(early.status, StatusCode::UNAUTHORIZED);
        for (token, expected) in [("wrong", 403), ("welcome", 200)] {
            let request = Request::post(&path)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Body::from(format!("token={token}")))
                .unwrap();
            let answer = server.request(request).await;
            assert_eq!(answer.status.as_u16(), expected, "{token}");
        }
        let registered = register(json!({ "session": session })).await.ok();
        assert_eq!(registered["user_id"], "@alice:example.org");
    }
}
