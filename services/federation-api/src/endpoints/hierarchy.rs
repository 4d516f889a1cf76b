//! <https://spec.matrix.org/v1.19/server-server-api/#spaces>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use luxchat_sync::{Error as SyncError, hierarchy_for_server};
use ruma::api::federation::space::get_hierarchy::v1::{Request, Response};

use crate::{State, auth::Peer, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(hierarchy)
}

async fn hierarchy(state: State, peer: Peer, Matrix(request): Matrix<Request>) -> Answer<Response> {
    let server = peer.server_name().to_owned();
    match hierarchy_for_server(&state.store, server, request).await {
        Ok(response) => Ok(Reply(response)),
        Err(SyncError::Store(error)) => Err(error.into()),
        Err(error) => Err(ApiError::not_found(error.to_string()).into()),
    }
}
