//! What application services alone may ask.
//! <https://spec.matrix.org/v1.19/application-service-api/#client-server-api-extensions>

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use luxchat_application_services::Service;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::api::client::{
    appservice::{request_ping::v1 as ping, set_room_visibility::v3 as set_visibility},
    room::Visibility,
};

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
    service::Claim,
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<ping::Request, _>(ping)
        .endpoint::<set_visibility::Request, _>(set_visibility)
}

async fn ping(
    state: State,
    claim: Claim,
    // The token of a user tells that user apart from nobody.
    _: Session,
    Matrix(request): Matrix<ping::Request>,
) -> Answer<ping::Response> {
    let service = service(claim)?;
    if service.id() != request.appservice_id {
        let message = "The token is another application service's";
        return Err(ApiError::forbidden(message).into());
    }
    let id = request.transaction_id.as_deref().map(|id| id.as_str());
    let took = state.application_services.ping(&service, id).await?;
    Ok(Reply(ping::Response::new(took)))
}

async fn set_visibility(
    state: State,
    claim: Claim,
    _: Session,
    Matrix(request): Matrix<set_visibility::Request>,
) -> Answer<set_visibility::Response> {
    let service = service(claim)?;
    let is_listed = match request.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        other => {
            return Err(ApiError::invalid_param(format!("Unknown visibility {other}")).into());
        }
    };
    let found = state
        .store
        .write(move |tx| {
            let Some(room) = tx.room_by_id(&request.room_id)? else {
                return Ok(false);
            };
            tx.set_network_room(service.id(), &request.network_id, room.nid, is_listed)?;
            Ok::<_, luxchat_store::Error>(true)
        })
        .await?;
    if !found {
        return Err(ApiError::not_found("room not found").into());
    }
    Ok(Reply(set_visibility::Response::new()))
}

fn service(claim: Claim) -> Result<Arc<Service>, Error> {
    match claim {
        Claim::Service(service) => Ok(service),
        Claim::None | Claim::Other => {
            Err(ApiError::forbidden("This is for application services alone").into())
        }
    }
}
