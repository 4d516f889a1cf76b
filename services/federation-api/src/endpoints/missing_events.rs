//! <https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1get_missing_eventsroomid>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_rooms::Gap;
use ruma::api::federation::event::get_missing_events::v1::{Request, Response};

use crate::{State, auth::Peer, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(missing_events)
}

async fn missing_events(
    state: State,
    peer: Peer,
    Matrix(request): Matrix<Request>,
) -> Answer<Response> {
    let gap = Gap {
        earliest: request.earliest_events,
        latest: request.latest_events,
        limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
        min_depth: request.min_depth.into(),
    };
    let events = state
        .rooms
        .serve_missing_events(peer.server_name(), &request.room_id, gap)
        .await?;
    Ok(Reply(Response::new(events)))
}
