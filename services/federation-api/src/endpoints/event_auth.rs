//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1event_authroomideventid>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::federation::authorization::get_event_authorization::v1::{Request, Response};

use crate::{State, auth::Peer, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(event_auth)
}

async fn event_auth(
    state: State,
    peer: Peer,
    Matrix(request): Matrix<Request>,
) -> Answer<Response> {
    let chain = state
        .rooms
        .serve_event_auth(peer.server_name(), &request.room_id, &request.event_id)
        .await?;
    Ok(Reply(Response::new(chain)))
}
