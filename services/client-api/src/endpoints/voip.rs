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
