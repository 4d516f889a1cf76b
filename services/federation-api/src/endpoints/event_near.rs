//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::federation::event::get_event_by_timestamp::v1::{Request, Response};

use crate::{State, auth::Peer, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(event_near)
}

async fn event_near(
    state: State,
    peer: Peer,
    Matrix(request): Matrix<Request>,
) -> Answer<Response> {
    let (event_id, sent) = state
        .rooms
        .serve_event_near(
            peer.server_name(),
            &request.room_id,
            request.ts,
            request.dir,
        )
        .await?;
    Ok(Reply(Response::new(event_id, sent)))
}
