//! <https://spec.matrix.org/v1.19/client-server-api/#client-config>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::{
    api::client::config::{
        get_global_account_data::v3 as get_global, get_room_account_data::v3 as get_room,
        set_global_account_data::v3 as set_global, set_room_account_data::v3 as set_room,
    },
    serde::Raw,
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<get_global::Request, _>(get)
        .endpoint::<set_global::Request, _>(set)
        .endpoint::<get_room::Request, _>(get_in_room)
        .endpoint::<set_room::Request, _>(set_in_room)
}

async fn get(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_global::Request>,
) -> Answer<get_global::Response> {
    session.check_is(&request.user_id)?;
    let content = state
        .accounts
        .account_data(&session, &request.event_type.to_string())
        .await?;
    Ok(Reply(get_global::Response::new(Raw::from_json(content))))
}

async fn set(
    state: State,
    session: Session,
    Matrix(request): Matrix<set_global::Request>,
) -> Answer<set_global::Response> {
    session.check_is(&request.user_id)?;
    let content = request.data.into_json();
    state
        .accounts
        .set_account_data(&session, &request.event_type.to_string(), content)
        .await?;
    Ok(Reply(set_global::Response::new()))
}

async fn get_in_room(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_room::Request>,
) -> Answer<get_room::Response> {
    session.check_is(&request.user_id)?;
    let content = state
        .accounts
        .room_account_data(&session, &request.room_id, &request.event_type.to_string())
        .await?;
    Ok(Reply(get_room::Response::new(Raw::from_json(content))))
}

async fn set_in_room(
    state: State,
    session: Session,
    Matrix(request): Matrix<set_room::Request>,
) -> Answer<set_room::Response> {
    session.check_is(&request.user_id)?;
    let content = request.data.into_json();
    let event_type = request.event_type.to_string();
    state
        .accounts
        .set_room_account_data(&session, &request.room_id, &event_type, content)
        .await?;
    Ok(Reply(set_room::Response::new()))
}
