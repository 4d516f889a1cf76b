//! Threads that users want to hear of.
//! [MSC4306](https://github.com/matrix-org/matrix-spec-proposals/pull/4306),
//! [MSC4308](https://github.com/matrix-org/matrix-spec-proposals/pull/4308).

use axum::{Json, Router, extract::Query, routing::get};
use luxchat_http::{ApiError, JsonBody, Path};
use luxchat_sync::ThreadSubscriptions;
use ruma::{OwnedEventId, OwnedRoomId, UInt};
use serde::{Deserialize, Serialize};

use crate::{State, auth::Session, error::Error};

const ONE: &str =
    "/_matrix/client/unstable/io.element.msc4306/rooms/{room_id}/thread/{thread_root}/subscription";
const ALL: &str = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions";

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .route(ONE, get(read).put(subscribe).delete(unsubscribe))
        .route(ALL, get(list))
}

#[derive(Deserialize)]
struct Subscribe {
    /// The reply because of which a client subscribes on its own account.
    automatic: Option<OwnedEventId>,
}

/// What says nothing but that it worked.
#[derive(Serialize)]
struct Done {}

#[derive(Serialize)]
struct Subscription {
    automatic: bool,
}

async fn read(
    state: State,
    session: Session,
    Path((room_id, root)): Path<(OwnedRoomId, OwnedEventId)>,
) -> Result<Json<Subscription>, Error> {
    let viewer = session.viewer();
    let automatic = state
        .sync
        .thread_subscription(viewer, room_id, root)
        .await?;
    Ok(Json(Subscription { automatic }))
}

async fn subscribe(
    state: State,
    session: Session,
    Path((room_id, root)): Path<(OwnedRoomId, OwnedEventId)>,
    JsonBody(body): JsonBody<Subscribe>,
) -> Result<Json<Done>, Error> {
    let viewer = session.viewer();
    state
        .sync
        .subscribe_thread(viewer, room_id, root, body.automatic)
        .await?;
    Ok(Json(Done {}))
}

async fn unsubscribe(
    state: State,
    session: Session,
    Path((room_id, root)): Path<(OwnedRoomId, OwnedEventId)>,
) -> Result<Json<Done>, Error> {
    let viewer = session.viewer();
    state.sync.unsubscribe_thread(viewer, room_id, root).await?;
    Ok(Json(Done {}))
}

#[derive(Deserialize)]
struct Page {
    dir: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<UInt>,
}

#[derive(Serialize)]
struct PageBody {
    #[serde(flatten)]
    subscriptions: ThreadSubscriptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
}

async fn list(
    state: State,
    session: Session,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<PageBody>, Error> {
    let Query(page) = page.map_err(|error| ApiError::invalid_param(error.to_string()))?;
    if page.dir.is_some_and(|dir| dir != "b") {
        return Err(ApiError::invalid_param("Subscriptions are listed backwards").into());
    }
    let limit = page
        .limit
        .map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let mut subscriptions = state
        .sync
        .thread_subscriptions(session.viewer(), page.from, page.to, limit)
        .await?;
    let end = subscriptions.rest.take();
    Ok(Json(PageBody { subscriptions, end }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Server;

    async fn reply(server: &Server, token: &str, room: &str, root: &str, txn: &str) -> String {
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{txn}");
        let relation = json!({ "rel_type": "m.thread", "event_id": root });
        let content = json!({ "msgtype": "m.text", "body": txn, "m.relates_to": relation });
        let sent = server.put(&path, token, content).await.ok();
        sent["event_id"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_client_subscribes_only_after_what_the_user_decided() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({})).await;
        let root = server.message(&alice, &room, "root").await;
        let other = server.message(&alice, &room, "other").await;
        let path = super::ONE
            .replace("{room_id}", &room)
            .replace("{thread_root}", &root);
        let first = reply(&server, &alice, &room, &root, "first").await;
        let automatic = |event: &str| json!({ "automatic": event });
        let astray = server.put(&path, &alice, automatic(&other)).await;
        assert_eq!(astray.error(), (400, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"));
        server.put(&path, &alice, automatic(&first)).await.ok();
        assert_eq!(server.get(&path, &alice).await.ok()["automatic"], true);
        server.put(&path, &alice, json!({})).await.ok();
        assert_eq!(server.get(&path, &alice).await.ok()["automatic"], false);
        server
            .send(http::Method::DELETE, &path, Some(&alice), Value::Null)
            .await
            .ok();
        assert_eq!(
            server.get(&path, &alice).await.error(),
            (404, "M_NOT_FOUND")
        );
        let late = server.put(&path, &alice, automatic(&first)).await;
        let conflict = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION";
        assert_eq!(late.error(), (409, conflict));
        let list = server.get(super::ALL, &alice).await.ok();
        assert!(list["unsubscribed"][&room][&root]["bump_stamp"].is_u64());
        let second = reply(&server, &alice, &room, &root, "second").await;
        server.put(&path, &alice, automatic(&second)).await.ok();
        let list = server.get(super::ALL, &alice).await.ok();
        assert_eq!(list["subscribed"][&room][&root]["automatic"], true);
        let unknown = path.replace(&root, "$unknown");
        let missing = server.put(&unknown, &alice, json!({})).await;
        assert_eq!(missing.error(), (404, "M_NOT_FOUND"));
    }
}
