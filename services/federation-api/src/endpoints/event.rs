//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1eventeventid>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::federation::event::get_event::v1::{Request, Response};

use crate::{State, auth::Peer, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(event)
}

async fn event(state: State, peer: Peer, Matrix(request): Matrix<Request>) -> Answer<Response> {
    let event = state
        .rooms
        .serve_event(peer.server_name(), &request.event_id)
        .await?;
    let origin = state.federation.server_name().to_owned();
    let now = state.store.clock().now();
    Ok(Reply(Response::new(origin, now, event)))
}
