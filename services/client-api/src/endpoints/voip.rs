//! <https://spec.matrix.org/v1.19/client-server-api/#voice-over-ip>

use axum::{Json, Router, response::IntoResponse};
use luxchat_accounts::turn_credentials;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::voip::get_turn_server_info::v3::{Request, Response};
use serde_json::json;

use crate::{State, auth::Session};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(turn_server)
}

/// An empty object where there is no TURN server: the specification has nothing else to say so.
async fn turn_server(state: State, session: Session, _: Matrix<Request>) -> impl IntoResponse {
    let Some(turn) = &state.config().turn else {
        return Json(json!({})).into_response();
    };
    let expires_ms = state.store.clock().now_ms() + millis(turn.lifetime);
    let (username, password) =
        turn_credentials(&turn.shared_secret, &session.user_id, expires_ms / 1_000);
    let response = Response::new(username, password, turn.uris.clone(), turn.lifetime);
    Reply(response).into_response()
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::{Config, Turn, testing::Server};

    const PATH: &str = "/_matrix/client/v3/voip/turnServer";

    #[tokio::test]
    async fn without_a_turn_server_there_is_nothing_to_say() {
        let server = Server::new();
        let token = server.user("alice").await;
        assert_eq!(server.get(PATH, &token).await.ok(), json!({}));
    }

    #[tokio::test]
    async fn credentials_name_the_user_and_their_end() {
        let turn = Turn {
            uris: vec!["turn:turn.example.org".to_owned()],
            shared_secret: "s".to_owned(),
            lifetime: Duration::from_hours(1),
        };
        let config = Config {
            turn: Some(turn),
            ..Config::default()
        };
        let server = Server::with(luxchat_accounts::Config::default(), config);
        let token = server.user("alice").await;
        let answer = server.get(PATH, &token).await.ok();
        assert_eq!(answer["ttl"], 3_600);
        assert_eq!(answer["uris"], json!(["turn:turn.example.org"]));
        let (end, user) = answer["username"]
            .as_str()
            .unwrap()
            .split_once(':')
            .unwrap();
        assert_eq!(user, "@alice:example.org");
        assert!(end.parse::<u64>().unwrap() * 1_000 > server.services.store.clock().now_ms());
    }
}
