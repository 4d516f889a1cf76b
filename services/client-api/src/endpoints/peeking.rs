//! <https://spec.matrix.org/v1.19/client-server-api/#room-previews>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::peeking::{
    get_current_state::v3 as current, listen_to_new_events::v3 as events,
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<current::Request, _>(peek)
        .endpoint::<events::Request, _>(listen)
}

async fn peek(
    state: State,
    session: Session,
    Matrix(request): Matrix<current::Request>,
) -> Answer<current::Response> {
    let response = state.sync.peek(session.viewer(), request.room_id).await?;
    Ok(Reply(response))
}

async fn listen(
    state: State,
    session: Session,
    Matrix(request): Matrix<events::Request>,
) -> Answer<events::Response> {
    let response = state.sync.events_of_room(session.viewer(), request).await?;
    Ok(Reply(response))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn a_stranger_watches_a_room_that_anybody_may_read() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let open = json!({ "type": "m.room.history_visibility", "state_key": "",
            "content": { "history_visibility": "world_readable" } });
        let request = json!({ "preset": "private_chat", "initial_state": [open] });
        let room = server.room(&alice, request).await;
        let first = server.message(&alice, &room, "first").await;
        let path = format!("/_matrix/client/v3/rooms/{room}/initialSync");
        let seen = server.get(&path, &bob).await.ok();
        let chunk = seen["messages"]["chunk"].as_array().unwrap();
        assert_eq!(chunk.last().unwrap()["event_id"], first);
        assert_eq!(seen["visibility"], "private");
        assert!(seen.get("membership").is_none());
        let state = seen["state"].as_array().unwrap().iter();
        assert!(state.into_iter().any(|it| it["type"] == "m.room.create"));

        let from = seen["messages"]["end"].as_str().unwrap();
        let path = format!("/_matrix/client/v3/events?room_id={room}&from={from}&timeout");
        let nothing = server.get(&format!("{path}=0"), &bob).await.ok();
        assert_eq!(nothing["end"], from);
        let path = format!("{path}=20000");
        let (heard, said) = tokio::join!(
            server.get(&path, &bob),
            server.message(&alice, &room, "second")
        );
        let heard = heard.ok();
        assert_eq!(heard["chunk"][0]["event_id"], said);
        assert_ne!(heard["end"], from);
    }

    #[tokio::test]
    async fn other_rooms_are_closed_to_strangers() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let room = server.room(&alice, json!({})).await;
        for path in [
            format!("/_matrix/client/v3/rooms/{room}/initialSync"),
            format!("/_matrix/client/v3/events?room_id={room}"),
        ] {
            assert_eq!(server.get(&path, &bob).await.error(), (403, "M_FORBIDDEN"));
            server.get(&path, &alice).await.ok();
        }
        let path = format!("/_matrix/client/v3/events?room_id={room}&from=x");
        let refused = server.get(&path, &alice).await;
        assert_eq!(refused.error(), (400, "M_INVALID_PARAM"));
    }
}
