//! Version 1 of the endpoint is for rooms of versions that this server does not take part in.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use luxchat_rooms::ReceivedInvite;
use ruma::{
    OwnedUserId,
    api::federation::membership::create_invite::v2::{Request, Response},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::debug;

use crate::{State, auth::Peer, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(invite)
}

async fn invite(state: State, peer: Peer, Matrix(request): Matrix<Request>) -> Answer<Response> {
    let invited = invited(&request.event)?;
    state
        .invitations()
        .check(peer.server_name(), &invited)
        .map_err(ApiError::limit_exceeded)?;
    let room_id = request.room_id.clone();
    let blocker = state.store.read(move |tx| tx.room_blocked_by(&room_id));
    if blocker.await?.is_some() {
        return Err(ApiError::forbidden("The room is blocked on this server").into());
    }
    if let Err(error) = state.application_services.summon(&invited).await {
        debug!(%error, "an application service does not say whether a user is its own");
    }
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

fn invited(event: &RawValue) -> Result<OwnedUserId, ApiError> {
    #[derive(Deserialize)]
    struct Invite {
        state_key: OwnedUserId,
    }
    let invite: Result<Invite, _> = serde_json::from_str(event.get());
    let invite = invite.map_err(|error| ApiError::invalid_param(error.to_string()))?;
    Ok(invite.state_key)
}
