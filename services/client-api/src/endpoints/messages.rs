//! <https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_sync::RelationsRequest;
use ruma::api::client::{
    message::get_message_events::v3 as get_message_events,
    relations::{
        get_relating_events::v1 as get_relating_events,
        get_relating_events_with_rel_type::v1 as get_relating_events_with_rel_type,
        get_relating_events_with_rel_type_and_event_type::v1 as get_relating_events_with_types,
    },
    room::get_room_event::v3 as get_room_event,
    threads::get_threads::v1 as get_threads,
};
use tracing::debug;

use crate::{State, auth::Session, error::Answer};

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
    Matrix(request): Matrix<get_message_events::Request>,
) -> Answer<get_message_events::Response> {
    let page = state
        .sync
        .messages(session.viewer(), request.clone())
        .await?;
    if !page.wants_backfill {
        return Ok(Reply(page.response));
    }
    match state.rooms.backfill(&request.room_id, BACKFILL).await {
        Ok(fetched) if fetched > 0 => {
            let page = state.sync.messages(session.viewer(), request).await?;
            Ok(Reply(page.response))
        }
        // What other servers cannot give, the page does without.
        Ok(_) => Ok(Reply(page.response)),
        Err(error) => {
            debug!(%error, "no older events from other servers");
            Ok(Reply(page.response))
        }
    }
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
