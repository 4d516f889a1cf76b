//! <https://spec.matrix.org/v1.19/client-server-api/#receipts>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use luxchat_sync::ReceiptKind;
use ruma::{
    api::client::{
        read_marker::set_read_marker::v3 as set_read_marker,
        receipt::create_receipt::v3::{self as create_receipt, ReceiptType},
    },
    events::receipt::ReceiptThread,
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<create_receipt::Request, _>(receipt)
        .endpoint::<set_read_marker::Request, _>(read_markers)
}

async fn receipt(
    state: State,
    session: Session,
    Matrix(request): Matrix<create_receipt::Request>,
) -> Answer<create_receipt::Response> {
    state.presence.note_activity(session.user_nid);
    let (user_id, room_id) = (&session.user_id, &request.room_id);
    let receipts = &state.receipts;
    let kind = match request.receipt_type {
        ReceiptType::Read => ReceiptKind::Public,
        ReceiptType::ReadPrivate => ReceiptKind::Private,
        ReceiptType::FullyRead if request.thread != ReceiptThread::Unthreaded => {
            return Err(ApiError::invalid_param(
                "A fully-read marker is of the room, not of a thread",
            )
            .into());
        }
        ReceiptType::FullyRead => {
            receipts
                .set_fully_read(user_id, room_id, &request.event_id)
                .await?;
            return Ok(Reply(create_receipt::Response::new()));
        }
        other => {
            return Err(ApiError::invalid_param(format!("Unknown receipt type {other}")).into());
        }
    };
    receipts
        .set(user_id, room_id, &request.event_id, kind, request.thread)
        .await?;
    Ok(Reply(create_receipt::Response::new()))
}

async fn read_markers(
    state: State,
    session: Session,
    Matrix(request): Matrix<set_read_marker::Request>,
) -> Answer<set_read_marker::Response> {
    let (user_id, room_id) = (&session.user_id, &request.room_id);
    if let Some(event_id) = &request.fully_read {
        state
            .receipts
            .set_fully_read(user_id, room_id, event_id)
            .await?;
    }
    let receipts = [
        (request.private_read_receipt, ReceiptKind::Private),
        (request.read_receipt, ReceiptKind::Public),
    ];
    for (event_id, kind) in receipts {
        if let Some(event_id) = event_id {
            let thread = ReceiptThread::Unthreaded;
            state
                .receipts
                .set(user_id, room_id, &event_id, kind, thread)
                .await?;
        }
    }
    Ok(Reply(set_read_marker::Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn receipts_and_markers_are_set() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({})).await;
        let event = server.message(&alice, &room, "hello").await;
        let path = format!("/_matrix/client/v3/rooms/{room}/receipt");
        let set = async |kind: &str, body| {
            let path = format!("{path}/{kind}/{event}");
            server.post(&path, &alice, body).await
        };
        set("m.read", json!({})).await.ok();
        set("m.read.private", json!({ "thread_id": "main" }))
            .await
            .ok();
        set("m.fully_read", json!({})).await.ok();
        let threaded = set("m.fully_read", json!({ "thread_id": "main" })).await;
        assert_eq!(threaded.error(), (400, "M_INVALID_PARAM"));
        let unknown = set("m.seen", json!({})).await;
        assert_eq!(unknown.error(), (400, "M_INVALID_PARAM"));

        let path = format!("/_matrix/client/v3/rooms/{room}/read_markers");
        let markers = json!({ "m.fully_read": event, "m.read": event });
        server.post(&path, &alice, markers).await.ok();
        let synced = server.get("/_matrix/client/v3/sync", &alice).await.ok();
        let synced = &synced["rooms"]["join"][&room];
        let receipts = &synced["ephemeral"]["events"][0]["content"][&event];
        assert!(receipts["m.read"]["@alice:example.org"]["ts"].is_u64());
        let data = &synced["account_data"]["events"][0];
        assert_eq!(data["type"], "m.fully_read");
        assert_eq!(data["content"]["event_id"], event);
    }
}
