//! <https://spec.matrix.org/v1.19/client-server-api/#openid>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::{
    api::client::account::request_openid_token::v3::{Request, Response},
    authentication::TokenType,
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(request_token)
}

async fn request_token(
    state: State,
    session: Session,
    Matrix(request): Matrix<Request>,
) -> Answer<Response> {
    session.check_is(&request.user_id)?;
    let (token, lifetime) = state.accounts.issue_open_id_token(&session.user_id);
    let server_name = session.user_id.server_name().to_owned();
    Ok(Reply(Response::new(
        token,
        TokenType::Bearer,
        server_name,
        lifetime,
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn a_token_names_the_user_who_asked() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let path = |user: &str| format!("/_matrix/client/v3/user/{user}/openid/request_token");
        let answer = server
            .post(&path("@alice:example.org"), &alice, json!({}))
            .await
            .ok();
        assert_eq!(answer["token_type"], "Bearer");
        assert_eq!(answer["expires_in"], 3_600);
        let token = answer["access_token"].as_str().unwrap();
        let named = server.services.accounts.open_id_user(token).unwrap();
        assert_eq!(named, "@alice:example.org");
        let other = server
            .post(&path("@bob:example.org"), &alice, json!({}))
            .await;
        assert_eq!(other.error(), (403, "M_FORBIDDEN"));
    }
}
