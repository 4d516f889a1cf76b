//! <https://spec.matrix.org/v1.19/client-server-api/#filtering>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::filter::{create_filter::v3 as create_filter, get_filter::v3 as get_filter};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<create_filter::Request, _>(create)
        .endpoint::<get_filter::Request, _>(get)
}

async fn create(
    state: State,
    session: Session,
    Matrix(request): Matrix<create_filter::Request>,
) -> Answer<create_filter::Response> {
    session.check_is(&request.user_id)?;
    let id = state
        .accounts
        .create_filter(&session, &request.filter)
        .await?;
    Ok(Reply(create_filter::Response::new(id)))
}

async fn get(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_filter::Request>,
) -> Answer<get_filter::Response> {
    session.check_is(&request.user_id)?;
    let filter = state.accounts.filter(&session, &request.filter_id).await?;
    Ok(Reply(get_filter::Response::new(filter)))
}
