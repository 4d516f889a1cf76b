//! <https://spec.matrix.org/v1.19/client-server-api/#event-context>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Query, Reply};
use luxchat_sync::RelationFilter;
use ruma::api::client::context::get_context::v3 as get_context;

use super::messages::MoreParameters;
use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<get_context::Request, _>(context)
}

async fn context(
    state: State,
    session: Session,
    Query(more): Query<MoreParameters>,
    Matrix(request): Matrix<get_context::Request>,
) -> Answer<get_context::Response> {
    let relations = RelationFilter::of_event_filter(more.filter.as_deref().unwrap_or_default());
    let viewer = session.viewer();
    let response = state.sync.context(viewer, request, relations).await?;
    Ok(Reply(response))
}
