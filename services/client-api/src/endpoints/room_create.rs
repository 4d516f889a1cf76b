//! <https://spec.matrix.org/v1.19/client-server-api/#creation>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::room::create_room::v3 as create_room;

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<create_room::Request, _>(create)
}

async fn create(
    state: State,
    session: Session,
    Matrix(request): Matrix<create_room::Request>,
) -> Answer<create_room::Response> {
    session.check_not_suspended()?;
    let room_id = state.rooms.create(&session.user_id, request).await?;
    Ok(Reply(create_room::Response::new(room_id)))
}
