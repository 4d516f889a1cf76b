//! <https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::to_device::send_event_to_device::v3 as send_event_to_device;

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<send_event_to_device::Request, _>(send)
}

async fn send(
    state: State,
    session: Session,
    Matrix(request): Matrix<send_event_to_device::Request>,
) -> Answer<send_event_to_device::Response> {
    state
        .encryption
        .send_to_device(
            &session.user_id,
            &session.device_id,
            &request.txn_id,
            &request.event_type,
            request.messages,
        )
        .await?;
    Ok(Reply(send_event_to_device::Response::new()))
}
