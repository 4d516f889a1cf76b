//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv1loginget_token>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::session::get_login_token::v1 as login_token;

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<login_token::Request, _>(issue)
}

async fn issue(
    state: State,
    session: Session,
    Matrix(request): Matrix<login_token::Request>,
) -> Answer<login_token::Response> {
    state
        .accounts
        .confirm_owner(&session, "get_login_token", request.auth.as_ref())
        .await?;
    let (token, lifetime) = state.accounts.issue_login_token(&session);
    Ok(Reply(login_token::Response::new(lifetime, token)))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use crate::testing::{PASSWORD, Server};

    #[tokio::test]
    async fn a_user_logs_in_one_more_device() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let path = "/_matrix/client/v1/login/get_token";
        let challenge = server.post(path, &alice, json!({})).await;
        assert_eq!(challenge.status.as_u16(), 401);
        let auth = json!({
            "type": "m.login.password", "session": challenge.body["session"], "password": PASSWORD,
            "identifier": { "type": "m.id.user", "user": "alice" },
        });
        let issued = server
            .post(path, &alice, json!({ "auth": auth }))
            .await
            .ok();
        let body = json!({ "type": "m.login.token", "token": issued["login_token"] });
        let log_in = || {
            let path = "/_matrix/client/v3/login";
            server.send(Method::POST, path, None, body.clone())
        };
        assert_eq!(log_in().await.ok()["user_id"], "@alice:example.org");
        assert_eq!(log_in().await.error(), (403, "M_FORBIDDEN"));
    }
}
