//! <https://spec.matrix.org/v1.19/client-server-api/#creation>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::{RoomAliasId, api::client::room::create_room::v3 as create_room};

use crate::{State, auth::Session, error::Answer, service::check_alias};

/// Invited users whom application services are asked for.
const SUMMONED: usize = 100;

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<create_room::Request, _>(create)
}

async fn create(
    state: State,
    session: Session,
    Matrix(request): Matrix<create_room::Request>,
) -> Answer<create_room::Response> {
    session.check_not_suspended()?;
    if let Some(name) = &request.room_alias_name {
        let alias = format!("#{name}:{}", state.store.server_name());
        // What is no alias is refused with the room.
        if let Ok(alias) = RoomAliasId::parse(alias) {
            check_alias(&state, &alias, &session)?;
        }
    }
    for user_id in request.invite.iter().take(SUMMONED) {
        state.application_services.summon(user_id).await?;
    }
    let room_id = state.rooms.create(&session.user_id, request).await?;
    Ok(Reply(create_room::Response::new(room_id)))
}
