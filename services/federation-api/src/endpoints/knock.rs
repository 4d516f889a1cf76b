//! <https://spec.matrix.org/v1.19/server-server-api/#knocking-rooms>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_rooms::Asked;
use ruma::{
    api::federation::membership::{
        create_knock_event::v1::{Request as SendRequest, Response as SendResponse},
        prepare_knock_event::v1::{Request as MakeRequest, Response as MakeResponse},
    },
    events::room::member::MembershipState,
};

use crate::{State, auth::Peer, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<MakeRequest, _>(make)
        .endpoint::<SendRequest, _>(send)
}

async fn make(
    state: State,
    peer: Peer,
    Matrix(request): Matrix<MakeRequest>,
) -> Answer<MakeResponse> {
    let asked = Asked {
        origin: peer.server_name(),
        room_id: &request.room_id,
        membership: &MembershipState::Knock,
    };
    let template = state
        .rooms
        .make_membership(asked, &request.user_id, Some(&request.ver))
        .await?;
    let response = MakeResponse::new(template.room_version, template.event);
    Ok(Reply(response))
}

async fn send(
    state: State,
    peer: Peer,
    Matrix(request): Matrix<SendRequest>,
) -> Answer<SendResponse> {
    let told = state
        .rooms
        .send_knock(
            peer.server_name(),
            &request.room_id,
            &request.event_id,
            &request.pdu,
        )
        .await?;
    Ok(Reply(SendResponse::new(told)))
}
