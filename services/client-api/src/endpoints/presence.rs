//! <https://spec.matrix.org/v1.19/client-server-api/#presence>

use std::time::Duration;

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::presence::{
    get_presence::v3 as get_presence, set_presence::v3 as set_presence,
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<get_presence::Request, _>(get)
        .endpoint::<set_presence::Request, _>(set)
}

async fn get(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_presence::Request>,
) -> Answer<get_presence::Response> {
    let viewer = session.viewer();
    let shown = state.presence.get(&viewer, request.user_id).await?;
    let mut response = get_presence::Response::new(shown.state);
    response.status_msg = shown.status_msg;
    response.currently_active = Some(shown.currently_active);
    response.last_active_ago = shown.last_active_ago.map(Duration::from_millis);
    Ok(Reply(response))
}

async fn set(
    state: State,
    session: Session,
    Matrix(request): Matrix<set_presence::Request>,
) -> Answer<set_presence::Response> {
    session.check_is(&request.user_id)?;
    let viewer = session.viewer();
    state
        .presence
        .set(&viewer, request.presence, request.status_msg)
        .await?;
    Ok(Reply(set_presence::Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn who_shares_a_room_sees_how_a_user_is() {
        let server = Server::new();
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let path = "/_matrix/client/v3/presence/@alice:example.org/status";
        let unseen = server.get(path, &bob).await;
        assert_eq!(unseen.error(), (403, "M_FORBIDDEN"));
        let body = json!({ "presence": "unavailable", "status_msg": "at lunch" });
        let forged = server.put(path, &bob, body.clone()).await;
        assert_eq!(forged.error(), (403, "M_FORBIDDEN"));
        server.put(path, &alice, body).await.ok();

        let room = server
            .room(&alice, json!({ "preset": "public_chat" }))
            .await;
        let join = format!("/_matrix/client/v3/rooms/{room}/join");
        server.post(&join, &bob, json!({})).await.ok();
        let seen = server.get(path, &bob).await.ok();
        assert_eq!(seen["presence"], "unavailable");
        assert_eq!(seen["status_msg"], "at lunch");
        let nonsense = server
            .put(path, &alice, json!({ "presence": "asleep" }))
            .await;
        assert_eq!(nonsense.error(), (400, "M_INVALID_PARAM"));
    }

    #[tokio::test]
    async fn a_sync_tells_who_came_and_makes_its_user_come() {
        let server = Server::new();
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server
            .room(&alice, json!({ "preset": "public_chat" }))
            .await;
        let join = format!("/_matrix/client/v3/rooms/{room}/join");
        server.post(&join, &bob, json!({})).await.ok();
        let quiet = "/_matrix/client/v3/sync?set_presence=offline";
        let first = server.get(quiet, &bob).await.ok();
        assert!(first.get("presence").is_none());
        server.get("/_matrix/client/v3/sync", &alice).await.ok();
        server.services.presence.tell().await.unwrap();
        let next = format!("{quiet}&since={}", first["next_batch"].as_str().unwrap());
        let synced = server.get(&next, &bob).await.ok();
        let event = &synced["presence"]["events"][0];
        assert_eq!(event["sender"], "@alice:example.org");
        assert_eq!(event["content"]["presence"], "online");
        let next = format!("{quiet}&since={}", synced["next_batch"].as_str().unwrap());
        let nothing = server.get(&next, &bob).await.ok();
        assert!(nothing.get("presence").is_none());
    }
}
