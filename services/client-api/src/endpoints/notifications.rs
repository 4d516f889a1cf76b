//! <https://spec.matrix.org/v1.19/client-server-api/#listing-notifications>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_push::Listing;
use ruma::api::client::push::get_notifications::v3 as list;

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<list::Request, _>(notifications)
}

async fn notifications(
    state: State,
    session: Session,
    Matrix(request): Matrix<list::Request>,
) -> Answer<list::Response> {
    let listing = Listing {
        from: request.from,
        limit: request.limit,
        only_highlights: request.only.as_deref() == Some("highlight"),
    };
    let (found, next) = state.push.notifications(session.user_nid, listing).await?;
    let notifications = found.into_iter().map(|found| {
        list::Notification::new(
            found.actions,
            found.event,
            found.is_read,
            found.room_id,
            found.ts,
        )
    });
    let mut response = list::Response::new(notifications.collect());
    response.next_token = next;
    Ok(Reply(response))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn notifications_are_listed_page_by_page() {
        let server = Server::new();
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.room(&bob, json!({ "preset": "public_chat" })).await;
        let join = format!("/_matrix/client/v3/rooms/{room}/join");
        server.post(&join, &alice, json!({})).await.ok();
        for text in ["one", "alice"] {
            server.message(&bob, &room, text).await;
        }
        let path = "/_matrix/client/v3/notifications";
        let page = server.get(&format!("{path}?limit=1"), &alice).await.ok();
        let newest = &page["notifications"][0];
        assert_eq!(newest["event"]["content"]["body"], "alice");
        assert_eq!(newest["room_id"], room);
        assert_eq!(newest["read"], false);
        assert_eq!(newest["actions"][0], "notify");
        let from = page["next_token"].as_str().unwrap();
        let rest = server
            .get(&format!("{path}?from={from}"), &alice)
            .await
            .ok();
        assert_eq!(rest["notifications"][0]["event"]["content"]["body"], "one");
        let highlights = server
            .get(&format!("{path}?only=highlight"), &alice)
            .await
            .ok();
        assert_eq!(highlights["notifications"].as_array().unwrap().len(), 1);
        let wrong = server.get(&format!("{path}?from=x"), &alice).await;
        assert_eq!(wrong.error(), (400, "M_INVALID_PARAM"));
    }
}
