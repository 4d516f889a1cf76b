//! <https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Path, Query, Reply};
use luxchat_sync::{Gaps, RelationFilter, RelationsRequest};
use ruma::{
    OwnedRoomId,
    api::client::{
        message::get_message_events::v3 as get_message_events,
        relations::{
            get_relating_events::v1 as get_relating_events,
            get_relating_events_with_rel_type::v1 as get_relating_events_with_rel_type,
            get_relating_events_with_rel_type_and_event_type::v1 as get_relating_events_with_types,
        },
        room::get_room_event::v3 as get_room_event,
        threads::get_threads::v1 as get_threads,
    },
};
use serde::Deserialize;
use tracing::debug;

use crate::{State, auth::Session, error::Answer};

/// What ruma's type of a request does not say.
#[derive(Deserialize)]
pub(crate) struct MoreParameters {
    /// The filter as the client wrote it.
    pub(crate) filter: Option<String>,
}

/// Older events fetched in one go where a client reaches the oldest that this server has.
const BACKFILL: usize = 100;

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<get_message_events::Request, _>(messages)
        .endpoint::<get_room_event::Request, _>(event)
        .endpoint::<get_threads::Request, _>(threads)
        .endpoint::<get_relating_events::Request, _>(relations)
        .endpoint::<get_relating_events_with_rel_type::Request, _>(relations_of_type)
        .endpoint::<get_relating_events_with_types::Request, _>(relations_of_types)
}

async fn messages(
    state: State,
    session: Session,
    Path(room_id): Path<OwnedRoomId>,
    Query(more): Query<MoreParameters>,
    request: Result<Matrix<get_message_events::Request>, ApiError>,
) -> Answer<get_message_events::Response> {
    let request = match request {
        Ok(Matrix(request)) => request,
        Err(error) => {
            // Whoever may not read the room is told so, however they ask.
            state.sync.check_readable(session.viewer(), room_id).await?;
            return Err(error.into());
        }
    };
    let relations = RelationFilter::of_event_filter(more.filter.as_deref().unwrap_or_default());
    let read = |gaps| {
        let (viewer, request) = (session.viewer(), request.clone());
        state
            .sync
            .messages(viewer, request, relations.clone(), gaps)
    };
    let page = read(Gaps::End).await?;
    let Some(place) = page.wants_backfill else {
        return Ok(Reply(page.response));
    };
    let backfill = state
        .rooms
        .backfill_before(&request.room_id, place, BACKFILL);
    let gaps = match backfill.await {
        Ok(fetched) if fetched > 0 => Gaps::End,
        // What other servers cannot give, the page does without.
        Ok(_) => Gaps::Skip,
        Err(error) => {
            debug!(%error, "no older events from other servers");
            Gaps::Skip
        }
    };
    Ok(Reply(read(gaps).await?.response))
}

async fn threads(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_threads::Request>,
) -> Answer<get_threads::Response> {
    let response = state.sync.threads(session.viewer(), request).await?;
    Ok(Reply(response))
}

async fn event(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_room_event::Request>,
) -> Answer<get_room_event::Response> {
    let event = state
        .sync
        .event(session.viewer(), request.room_id, request.event_id)
        .await?;
    Ok(Reply(get_room_event::Response::new(event)))
}

async fn relations(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_relating_events::Request>,
) -> Answer<get_relating_events::Response> {
    let request = RelationsRequest {
        room_id: request.room_id,
        event_id: request.event_id,
        rel_type: None,
        event_type: None,
        from: request.from,
        to: request.to,
        dir: request.dir,
        limit: request.limit,
    };
    let response = state.sync.relations(session.viewer(), request).await?;
    Ok(Reply(response))
}

async fn relations_of_type(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_relating_events_with_rel_type::Request>,
) -> Answer<get_relating_events_with_rel_type::Response> {
    let request = RelationsRequest {
        room_id: request.room_id,
        event_id: request.event_id,
        rel_type: Some(request.rel_type),
        event_type: None,
        from: request.from,
        to: request.to,
        dir: request.dir,
        limit: request.limit,
    };
    let page = state.sync.relations(session.viewer(), request).await?;
    let mut response = get_relating_events_with_rel_type::Response::new(page.chunk);
    response.next_batch = page.next_batch;
    response.prev_batch = page.prev_batch;
    Ok(Reply(response))
}

async fn relations_of_types(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_relating_events_with_types::Request>,
) -> Answer<get_relating_events_with_types::Response> {
    let request = RelationsRequest {
        room_id: request.room_id,
        event_id: request.event_id,
        rel_type: Some(request.rel_type),
        event_type: Some(request.event_type),
        from: request.from,
        to: request.to,
        dir: request.dir,
        limit: request.limit,
    };
    let page = state.sync.relations(session.viewer(), request).await?;
    let mut response = get_relating_events_with_types::Response::new(page.chunk);
    response.next_batch = page.next_batch;
    response.prev_batch = page.prev_batch;
    Ok(Reply(response))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn events_are_picked_by_how_they_relate() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({})).await;
        let root = server.message(&alice, &room, "root").await;
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/reply");
        let relation = json!({ "rel_type": "m.thread", "event_id": root });
        let reply = json!({ "msgtype": "m.text", "body": "reply", "m.relates_to": relation });
        let reply = server.put(&path, &alice, reply).await.ok();
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=2&filter=");
        let threads = "%7B%22org.matrix.msc3874.rel_types%22:%5B%22m.thread%22%5D%7D";
        let found = server.get(&format!("{path}{threads}"), &alice).await.ok();
        assert_eq!(found["chunk"].as_array().unwrap().len(), 1);
        assert_eq!(found["chunk"][0]["event_id"], reply["event_id"]);
        let main = "%7B%22not_rel_types%22:%5B%22m.thread%22%5D%7D";
        let found = server.get(&format!("{path}{main}"), &alice).await.ok();
        assert_eq!(found["chunk"][0]["event_id"], root);
    }

    #[tokio::test]
    async fn whoever_may_not_read_a_room_is_told_so_first() {
        let server = Server::new();
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.room(&alice, json!({})).await;
        let path = format!("/_matrix/client/v3/rooms/{room}/messages");
        let refused = server.get(&path, &bob).await;
        assert_eq!(refused.error(), (403, "M_FORBIDDEN"));
        let refused = server.get(&path, &alice).await;
        assert_eq!(refused.error(), (400, "M_MISSING_PARAM"));
    }
}
