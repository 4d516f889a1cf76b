//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1querydirectory>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use luxchat_rooms::Error as RoomsError;
use ruma::api::federation::query::get_room_information::v1::{Request, Response};
use tracing::debug;

use crate::{State, auth::Peer, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(resolve)
}

async fn resolve(state: State, _: Peer, Matrix(request): Matrix<Request>) -> Answer<Response> {
    if request.room_alias.server_name() != state.federation.server_name() {
        return Err(ApiError::not_found("The alias is one of another server").into());
    }
    let alias = &request.room_alias;
    let target = match state.rooms.resolve_own_alias(alias).await {
        Err(RoomsError::NotFound(_)) => {
            // The room may be one that an application service has yet to make.
            let asked = state.application_services.query_alias(alias).await;
            if let Err(error) = asked {
                debug!(%error, "an application service does not say whether an alias is its own");
            }
            state.rooms.resolve_own_alias(alias).await?
        }
        target => target?,
    };
    Ok(Reply(Response::new(target.room_id, target.servers)))
}
