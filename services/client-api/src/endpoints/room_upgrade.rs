//! <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_rooms::Upgrade;
use ruma::api::client::room::upgrade_room::v3 as upgrade_room;

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<upgrade_room::Request, _>(upgrade)
}

async fn upgrade(
    state: State,
    session: Session,
    Matrix(request): Matrix<upgrade_room::Request>,
) -> Answer<upgrade_room::Response> {
    session.check_not_suspended()?;
    let upgrade = Upgrade {
        user: session.user_id.clone(),
        room_id: request.room_id,
        version: request.new_version,
        additional_creators: request.additional_creators,
    };
    let replacement = state.rooms.upgrade(upgrade).await?;
    Ok(Reply(upgrade_room::Response::new(replacement)))
}
