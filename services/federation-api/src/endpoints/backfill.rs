//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1backfillroomid>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::federation::backfill::get_backfill::v1::{Request, Response};

use crate::{State, auth::Peer, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(backfill)
}

async fn backfill(state: State, peer: Peer, Matrix(request): Matrix<Request>) -> Answer<Response> {
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let events = state
        .rooms
        .serve_backfill(peer.server_name(), &request.room_id, request.v, limit)
        .await?;
    let origin = state.federation.server_name().to_owned();
    let now = state.store.clock().now();
    Ok(Reply(Response::new(origin, now, events)))
}
