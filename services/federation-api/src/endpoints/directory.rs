//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1querydirectory>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::api::federation::query::get_room_information::v1::{Request, Response};

use crate::{State, auth::Peer, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(resolve)
}

async fn resolve(state: State, _: Peer, Matrix(request): Matrix<Request>) -> Answer<Response> {
    if request.room_alias.server_name() != state.federation.server_name() {
        return Err(ApiError::not_found("The alias is one of another server").into());
    }
    let target = state.rooms.resolve_own_alias(&request.room_alias).await?;
    Ok(Reply(Response::new(target.room_id, target.servers)))
}
