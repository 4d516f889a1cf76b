//! <https://spec.matrix.org/v1.19/server-server-api/#retrieving-events>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::federation::event::{
    get_room_state::v1::{Request as StateRequest, Response as StateResponse},
    get_room_state_ids::v1::{Request as IdsRequest, Response as IdsResponse},
};

use crate::{State, auth::Peer, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<StateRequest, _>(room_state)
        .endpoint::<IdsRequest, _>(ids)
}

async fn room_state(
    state: State,
    peer: Peer,
    Matrix(request): Matrix<StateRequest>,
) -> Answer<StateResponse> {
    let found = state
        .rooms
        .serve_state(peer.server_name(), &request.room_id, &request.event_id)
        .await?;
    Ok(Reply(StateResponse::new(found.auth_chain, found.state)))
}

async fn ids(state: State, peer: Peer, Matrix(request): Matrix<IdsRequest>) -> Answer<IdsResponse> {
    let found = state
        .rooms
        .serve_state_ids(peer.server_name(), &request.room_id, &request.event_id)
        .await?;
    Ok(Reply(IdsResponse::new(found.auth_chain, found.state)))
}
