//! Version 1 of the endpoint is for rooms of versions that this server does not take part in.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_rooms::ReceivedInvite;
use ruma::api::federation::membership::create_invite::v2::{Request, Response};

use crate::{State, auth::Peer, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(invite)
}

async fn invite(state: State, peer: Peer, Matrix(request): Matrix<Request>) -> Answer<Response> {
    let invite = ReceivedInvite {
        room_id: request.room_id,
        event_id: request.event_id,
        room_version: request.room_version,
        event: request.event,
        room_state: request.invite_room_state,
    };
    let signed = state
        .rooms
        .receive_invite(peer.server_name(), invite)
        .await?;
    Ok(Reply(Response::new(signed)))
}
