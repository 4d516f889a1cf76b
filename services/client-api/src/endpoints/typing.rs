//! <https://spec.matrix.org/v1.19/client-server-api/#typing-notifications>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::api::{
    client::typing::create_typing_event::v3::{self as create_typing_event, Typing},
    federation::transactions::edu::{Edu, TypingContent},
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<create_typing_event::Request, _>(typing)
}

async fn typing(
    state: State,
    session: Session,
    Matrix(request): Matrix<create_typing_event::Request>,
) -> Answer<create_typing_event::Response> {
    if request.user_id != session.user_id {
        return Err(ApiError::forbidden("You cannot type for somebody else").into());
    }
    state.presence.note_activity(session.user_nid);
    let (user_id, room_id) = (request.user_id, request.room_id);
    let (servers, is_typing) = match request.state {
        Typing::Yes(info) => {
            let servers = state.typing.start(&user_id, &room_id, info.timeout).await?;
            (servers, true)
        }
        Typing::No => (state.typing.stop(&user_id, &room_id).await?, false),
    };
    if !servers.is_empty() {
        let edu = Edu::Typing(TypingContent::new(room_id, user_id, is_typing));
        state.federation.send_edu(servers, &edu);
    }
    Ok(Reply(create_typing_event::Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn typing_is_synced_and_nobody_types_for_others() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let room = server
            .room(&alice, json!({ "preset": "public_chat" }))
            .await;
        let path = |user| format!("/_matrix/client/v3/rooms/{room}/typing/@{user}:example.org");
        let typing = json!({ "typing": true, "timeout": 30_000 });
        let outside = server.put(&path("bob"), &bob, typing.clone()).await;
        assert_eq!(outside.error(), (403, "M_FORBIDDEN"));
        let forged = server.put(&path("alice"), &bob, typing.clone()).await;
        assert_eq!(forged.error(), (403, "M_FORBIDDEN"));
        server.put(&path("alice"), &alice, typing).await.ok();
        let synced = server.get("/_matrix/client/v3/sync", &alice).await.ok();
        let events = &synced["rooms"]["join"][&room]["ephemeral"]["events"];
        assert_eq!(
            events[0]["content"]["user_ids"],
            json!(["@alice:example.org"])
        );
    }
}
