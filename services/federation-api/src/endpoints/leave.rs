//! <https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites>

use axum::{Json, Router};
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_rooms::Asked;
use ruma::{
    api::federation::membership::{
        create_leave_event::v2::{Request as SendRequest, Response as SendResponse},
        prepare_leave_event::v1::{Request as MakeRequest, Response as MakeResponse},
    },
    events::room::member::MembershipState,
};
use serde_json::{Value, json};

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
            "/_matrix/federation/v1/send_leave/{room_id}/{event_id}",
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
        membership: &MembershipState::Leave,
    };
    let template = state
        .rooms
        .make_membership(asked, &request.user_id, None)
        .await?;
    let response = MakeResponse::new(Some(template.room_version), template.event);
    Ok(Reply(response))
}

async fn send(
    state: State,
    peer: Peer,
    Matrix(request): Matrix<SendRequest>,
) -> Answer<SendResponse> {
    leave(&state, &peer, &request).await?;
    Ok(Reply(SendResponse::new()))
}

/// The deprecated form, whose answer stands in an array behind a status code.
/// [Spec](https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1send_leaveroomideventid).
async fn send_v1(
    state: State,
    peer: Peer,
    Matrix(request): Matrix<SendRequest>,
) -> Result<Json<Value>, Error> {
    leave(&state, &peer, &request).await?;
    Ok(Json(json!([200, {}])))
}

async fn leave(state: &State, peer: &Peer, request: &SendRequest) -> Result<(), Error> {
    state
        .rooms
        .send_leave(
            peer.server_name(),
            &request.room_id,
            &request.event_id,
            &request.pdu,
        )
        .await?;
    Ok(())
}
