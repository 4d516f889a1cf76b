//! Profiles of this server's users.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryprofile>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::api::federation::query::get_profile_information::v1::{Request, Response};
use tracing::debug;

use crate::{State, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(profile)
}

async fn profile(state: State, Matrix(request): Matrix<Request>) -> Answer<Response> {
    if request.user_id.server_name() != state.federation.server_name() {
        return Err(ApiError::invalid_param("The user is of another server").into());
    }
    if let Err(error) = state.application_services.summon(&request.user_id).await {
        debug!(%error, "an application service does not say whether a user is its own");
    }
    let fields = match &request.field {
        None => state.accounts.profile(&request.user_id).await?,
        Some(field) => {
            let name = field.as_str();
            let value = state.accounts.profile_field(&request.user_id, name).await?;
            value
                .into_iter()
                .map(|value| (name.to_owned(), value))
                .collect()
        }
    };
    Ok(Reply(Response::from_iter(fields)))
}
