//! <https://spec.matrix.org/v1.19/client-server-api/#event-context>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::context::get_context::v3 as get_context;

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<get_context::Request, _>(context)
}

async fn context(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_context::Request>,
) -> Answer<get_context::Response> {
    let response = state.sync.context(session.viewer(), request).await?;
    Ok(Reply(response))
}
