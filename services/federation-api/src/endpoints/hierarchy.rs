//! <https://spec.matrix.org/v1.19/server-server-api/#spaces>

use axum::Router;

use crate::State;

pub(crate) fn routes() -> Router<State> {
    Router::new()
}
