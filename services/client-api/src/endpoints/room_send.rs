//! <https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_rooms::{Redact, SendEvent, Transaction};
use ruma::{
    OwnedTransactionId,
    api::client::{
        message::send_message_event::v3 as send_message_event,
        redact::redact_event::v3 as redact_event,
    },
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<send_message_event::Request, _>(send)
        .endpoint::<redact_event::Request, _>(redact)
}

async fn send(
    state: State,
    session: Session,
    Matrix(request): Matrix<send_message_event::Request>,
) -> Answer<send_message_event::Response> {
    session.check_not_suspended()?;
    let event = SendEvent {
        sender: session.user_id.clone(),
        room_id: request.room_id,
        event_type: request.event_type.into(),
        state_key: None,
        content: request.body.into_json(),
        transaction: Some(transaction(&session, request.txn_id)),
    };
    let event_id = state.rooms.send(event).await?;
    Ok(Reply(send_message_event::Response::new(event_id)))
}

async fn redact(
    state: State,
    session: Session,
    Matrix(request): Matrix<redact_event::Request>,
) -> Answer<redact_event::Response> {
    let redact = Redact {
        sender: session.user_id.clone(),
        room_id: request.room_id,
        event_id: request.event_id,
        reason: request.reason,
        transaction: Some(transaction(&session, request.txn_id)),
    };
    let event_id = state.rooms.redact(redact).await?;
    Ok(Reply(redact_event::Response::new(event_id)))
}

fn transaction(session: &Session, txn_id: OwnedTransactionId) -> Transaction {
    Transaction {
        device_id: session.device_id.clone(),
        txn_id,
    }
}
