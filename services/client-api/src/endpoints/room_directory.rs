//! <https://spec.matrix.org/v1.19/client-server-api/#room-aliases>, and the list of published rooms.

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use luxchat_sync::{PublicRoomsRequest, public_rooms};
use ruma::{
    OwnedServerName,
    api::{
        client::{
            alias::{
                create_alias::v3 as create_alias, delete_alias::v3 as delete_alias,
                get_alias::v3 as get_alias,
            },
            directory::{
                get_public_rooms::v3 as get_public_rooms,
                get_public_rooms_filtered::v3 as get_public_rooms_filtered,
                get_room_visibility::v3 as get_room_visibility,
                set_room_visibility::v3 as set_room_visibility,
            },
            room::{Visibility, aliases::v3 as room_aliases, get_summary::v1 as get_summary},
        },
        federation::directory::get_public_rooms_filtered::v1 as remote_public_rooms,
    },
};

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<get_alias::Request, _>(resolve)
        .endpoint::<create_alias::Request, _>(set)
        .endpoint::<delete_alias::Request, _>(delete)
        .endpoint::<room_aliases::Request, _>(aliases)
        .endpoint::<get_room_visibility::Request, _>(visibility)
        .endpoint::<set_room_visibility::Request, _>(set_visibility)
        .endpoint::<get_public_rooms::Request, _>(list)
        .endpoint::<get_public_rooms_filtered::Request, _>(search)
        .endpoint::<get_summary::Request, _>(summary)
}

async fn resolve(
    state: State,
    session: Option<Session>,
    Matrix(request): Matrix<get_alias::Request>,
) -> Answer<get_alias::Response> {
    // Whoever is nobody here cannot make this server ask others.
    let is_own = request.room_alias.server_name() == state.store.server_name();
    if !is_own && session.is_none() {
        return Err(ApiError::missing_token().into());
    }
    let target = state.rooms.resolve_alias(&request.room_alias).await?;
    Ok(Reply(get_alias::Response::new(
        target.room_id,
        target.servers,
    )))
}

async fn set(
    state: State,
    session: Session,
    Matrix(request): Matrix<create_alias::Request>,
) -> Answer<create_alias::Response> {
    session.check_not_suspended()?;
    state
        .rooms
        .set_alias(&session.user_id, &request.room_alias, &request.room_id)
        .await?;
    Ok(Reply(create_alias::Response::new()))
}

async fn delete(
    state: State,
    session: Session,
    Matrix(request): Matrix<delete_alias::Request>,
) -> Answer<delete_alias::Response> {
    state
        .rooms
        .delete_alias(&session.user_id, &request.room_alias, session.is_admin)
        .await?;
    Ok(Reply(delete_alias::Response::new()))
}

async fn aliases(
    state: State,
    session: Session,
    Matrix(request): Matrix<room_aliases::Request>,
) -> Answer<room_aliases::Response> {
    let aliases = state
        .sync
        .aliases(session.viewer(), request.room_id)
        .await?;
    Ok(Reply(room_aliases::Response::new(aliases)))
}

async fn visibility(
    state: State,
    Matrix(request): Matrix<get_room_visibility::Request>,
) -> Answer<get_room_visibility::Response> {
    let published = state
        .store
        .read(move |tx| match tx.room_by_id(&request.room_id)? {
            Some(room) => tx.is_published(room.nid).map(Some),
            None => Ok(None),
        })
        .await?;
    let visibility = match published {
        Some(true) => Visibility::Public,
        Some(false) => Visibility::Private,
        None => return Err(ApiError::not_found("room not found").into()),
    };
    Ok(Reply(get_room_visibility::Response::new(visibility)))
}

async fn set_visibility(
    state: State,
    session: Session,
    Matrix(request): Matrix<set_room_visibility::Request>,
) -> Answer<set_room_visibility::Response> {
    session.check_not_suspended()?;
    let published = match request.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        other => {
            return Err(ApiError::invalid_param(format!("Unknown visibility {other}")).into());
        }
    };
    let (user_id, is_admin) = (&session.user_id, session.is_admin);
    state
        .rooms
        .publish(user_id, &request.room_id, published, is_admin)
        .await?;
    Ok(Reply(set_room_visibility::Response::new()))
}

async fn list(
    state: State,
    _: Session,
    Matrix(request): Matrix<get_public_rooms::Request>,
) -> Answer<get_public_rooms::Response> {
    let query = PublicRoomsRequest {
        limit: request.limit,
        since: request.since,
        ..PublicRoomsRequest::default()
    };
    let found = page(&state, request.server, query).await?;
    let mut response = get_public_rooms::Response::new(found.chunk);
    response.next_batch = found.next_batch;
    response.prev_batch = found.prev_batch;
    response.total_room_count_estimate = found.total_room_count_estimate;
    Ok(Reply(response))
}

async fn search(
    state: State,
    _: Session,
    Matrix(request): Matrix<get_public_rooms_filtered::Request>,
) -> Answer<get_public_rooms_filtered::Response> {
    let query = PublicRoomsRequest {
        limit: request.limit,
        since: request.since,
        filter: request.filter,
    };
    let found = page(&state, request.server, query).await?;
    let mut response = get_public_rooms_filtered::Response::new();
    response.chunk = found.chunk;
    response.next_batch = found.next_batch;
    response.prev_batch = found.prev_batch;
    response.total_room_count_estimate = found.total_room_count_estimate;
    Ok(Reply(response))
}

/// A page of this server's list of rooms, or of another's.
async fn page(
    state: &State,
    server: Option<OwnedServerName>,
    query: PublicRoomsRequest,
) -> Result<remote_public_rooms::Response, Error> {
    if let Some(server) = server
        && server != state.store.server_name()
    {
        let mut request = remote_public_rooms::Request::new();
        request.limit = query.limit;
        request.since = query.since;
        request.filter = query.filter;
        return Ok(state.federation.request(&server, request).await?);
    }
    let found = public_rooms(&state.store, query).await?;
    let mut response = remote_public_rooms::Response::new();
    response.chunk = found.chunk;
    response.next_batch = found.next_batch;
    response.prev_batch = found.prev_batch;
    response.total_room_count_estimate = Some(found.total);
    Ok(response)
}

async fn summary(
    state: State,
    session: Option<Session>,
    Matrix(request): Matrix<get_summary::Request>,
) -> Answer<get_summary::Response> {
    let viewer = session.as_ref().map(Session::viewer);
    let room = request.room_id_or_alias;
    let (summary, membership) = state.sync.room_summary(viewer, room).await?;
    let mut response = get_summary::Response::new(summary);
    response.membership = membership;
    Ok(Reply(response))
}
