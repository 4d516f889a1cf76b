//! <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use axum::{Json, Router};
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_rooms::Asked;
use ruma::{
    api::federation::membership::{
        create_join_event::v2::{Request as SendRequest, Response as SendResponse, RoomState},
        prepare_join_event::v1::{Request as MakeRequest, Response as MakeResponse},
    },
    events::room::member::MembershipState,
};

use crate::{
    State,
    auth::Peer,
    error::{Answer, Error},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<MakeRequest, _>(make)
        .endpoint::<SendRequest, _>(send)
        .endpoint_at::<SendRequest, _>(
            "/_matrix/federation/v1/send_join/{room_id}/{event_id}",
            send_v1,
        )
}

async fn make(
    state: State,
    peer: Peer,
    Matrix(request): Matrix<MakeRequest>,
) -> Answer<MakeResponse> {
    let asked = Asked {
        origin: peer.server_name(),
        room_id: &request.room_id,
        membership: &MembershipState::Join,
    };
    let template = state
        .rooms
        .make_membership(asked, &request.user_id, Some(&request.ver))
        .await?;
    let mut response = MakeResponse::new(template.event);
    response.room_version = Some(template.room_version);
    Ok(Reply(response))
}

async fn send(
    state: State,
    peer: Peer,
    Matrix(request): Matrix<SendRequest>,
) -> Answer<SendResponse> {
    let room_state = join(&state, &peer, &request, request.omit_members).await?;
    Ok(Reply(SendResponse::new(room_state)))
}

/// The deprecated form, whose answer stands in an array behind a status code.
/// [Spec](https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1send_joinroomideventid).
async fn send_v1(
    state: State,
    peer: Peer,
    Matrix(request): Matrix<SendRequest>,
) -> Result<Json<(u16, RoomState)>, Error> {
    let room_state = join(&state, &peer, &request, false).await?;
    Ok(Json((200, room_state)))
}

async fn join(
    state: &State,
    peer: &Peer,
    request: &SendRequest,
    omit_members: bool,
) -> Result<RoomState, Error> {
    let joined = state
        .rooms
        .send_join(
            peer.server_name(),
            &request.room_id,
            &request.event_id,
            &request.pdu,
            omit_members,
        )
        .await?;
    let mut room_state = RoomState::new();
    room_state.members_omitted = omit_members;
    room_state.auth_chain = joined.auth_chain;
    room_state.state = joined.state;
    room_state.event = Some(joined.event);
    let servers = joined.servers.into_iter().map(Into::into);
    room_state.servers_in_room = Some(servers.collect());
    Ok(room_state)
}
