//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mutual_rooms>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::membership::get_mutual_rooms::{unstable, v1};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<v1::Request, _>(mutual_rooms)
        .endpoint::<unstable::Request, _>(without_count)
}

async fn mutual_rooms(
    state: State,
    session: Session,
    Matrix(request): Matrix<v1::Request>,
) -> Answer<v1::Response> {
    let rooms = state
        .sync
        .mutual_rooms(session.viewer(), request.user_id, request.from)
        .await?;
    let mut response = v1::Response::new(rooms.count.into(), rooms.joined);
    response.next_batch = rooms.next;
    Ok(Reply(response))
}

/// What came before the count.
async fn without_count(
    state: State,
    session: Session,
    Matrix(request): Matrix<unstable::Request>,
) -> Answer<unstable::Response> {
    let rooms = state
        .sync
        .mutual_rooms(session.viewer(), request.user_id, request.from)
        .await?;
    let mut response = unstable::Response::new(rooms.joined);
    response.next_batch = rooms.next;
    Ok(Reply(response))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn rooms_that_both_are_in_are_named() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let public = json!({ "preset": "public_chat" });
        let shared = server.room(&alice, public.clone()).await;
        server.room(&alice, public).await;
        let path = format!("/_matrix/client/v3/join/{shared}");
        server.post(&path, &bob, json!({})).await.ok();

        let path = "/_matrix/client/v1/mutual_rooms?user_id";
        let with_bob = server
            .get(&format!("{path}=@bob:example.org"), &alice)
            .await;
        assert_eq!(with_bob.ok(), json!({ "joined": [shared], "count": 1 }));
        let nobody = server.get(&format!("{path}=@nobody:two"), &alice).await;
        assert_eq!(nobody.ok(), json!({ "joined": [], "count": 0 }));
        for wrong in ["@alice:example.org", "@bob:example.org&from=x"] {
            let refused = server.get(&format!("{path}={wrong}"), &alice).await;
            assert_eq!(refused.error(), (400, "M_INVALID_PARAM"), "{wrong}");
        }
    }
}
