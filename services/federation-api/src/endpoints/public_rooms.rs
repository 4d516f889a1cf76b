//! <https://spec.matrix.org/v1.19/server-server-api/#published-room-directory>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use luxchat_sync::{Error as SyncError, PublicRooms, PublicRoomsRequest, public_rooms};
use ruma::api::federation::directory::{
    get_public_rooms::v1::{Request as ListRequest, Response as ListResponse},
    get_public_rooms_filtered::v1::{Request as SearchRequest, Response as SearchResponse},
};

use crate::{
    State,
    auth::Peer,
    error::{Answer, Error},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<ListRequest, _>(list)
        .endpoint::<SearchRequest, _>(search)
}

async fn list(state: State, _: Peer, Matrix(request): Matrix<ListRequest>) -> Answer<ListResponse> {
    let wanted = PublicRoomsRequest {
        limit: request.limit,
        since: request.since,
        network: request.room_network,
        ..PublicRoomsRequest::default()
    };
    let found = find(&state, wanted).await?;
    let mut response = ListResponse::new();
    response.chunk = found.chunk;
    response.next_batch = found.next_batch;
    response.prev_batch = found.prev_batch;
    response.total_room_count_estimate = Some(found.total);
    Ok(Reply(response))
}

async fn search(
    state: State,
    _: Peer,
    Matrix(request): Matrix<SearchRequest>,
) -> Answer<SearchResponse> {
    let wanted = PublicRoomsRequest {
        limit: request.limit,
        since: request.since,
        filter: request.filter,
        network: request.room_network,
    };
    let found = find(&state, wanted).await?;
    let mut response = SearchResponse::new();
    response.chunk = found.chunk;
    response.next_batch = found.next_batch;
    response.prev_batch = found.prev_batch;
    response.total_room_count_estimate = Some(found.total);
    Ok(Reply(response))
}

async fn find(state: &State, wanted: PublicRoomsRequest) -> Result<PublicRooms, Error> {
    public_rooms(&state.store, wanted)
        .await
        .map_err(|error| match error {
            SyncError::Store(error) => error.into(),
            other => ApiError::invalid_param(other.to_string()).into(),
        })
}
