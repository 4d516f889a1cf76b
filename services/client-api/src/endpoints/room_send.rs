//! <https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room>

use axum::{
    Router,
    extract::RawQuery,
    response::{IntoResponse, Response},
};
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_rooms::{Redact, SendEvent, Transaction};
use ruma::{
    OwnedTransactionId,
    api::client::{
        delayed_events::delayed_message_event::unstable as delayed_message_event,
        message::send_message_event::v3 as send_message_event,
        redact::redact_event::v3 as redact_event,
    },
};

use crate::{
    State,
    auth::Session,
    endpoints::delayed_events::delay_of,
    error::{Answer, Error},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<send_message_event::Request, _>(send)
        .endpoint::<redact_event::Request, _>(redact)
}

async fn send(
    state: State,
    session: Session,
    RawQuery(query): RawQuery,
    Matrix(request): Matrix<send_message_event::Request>,
) -> Result<Response, Error> {
    session.check_not_suspended()?;
    let event = SendEvent {
        sender: session.user_id.clone(),
        room_id: request.room_id,
        event_type: request.event_type.into(),
        state_key: None,
        content: request.body.into_json(),
        transaction: Some(transaction(&session, request.txn_id)),
    };
    if let Some(delay) = delay_of(query.as_deref())? {
        let delay_id = state.rooms.delay(event, delay).await?;
        return Ok(Reply(delayed_message_event::Response::new(delay_id)).into_response());
    }
    let timestamp = session.massaged(request.timestamp);
    let event_id = state.rooms.send_at(event, timestamp).await?;
    Ok(Reply(send_message_event::Response::new(event_id)).into_response())
}

async fn redact(
    state: State,
    session: Session,
    Matrix(request): Matrix<redact_event::Request>,
) -> Answer<redact_event::Response> {
    if session.is_suspended && !is_own(&state, &session, &request).await? {
        session.check_not_suspended()?;
    }
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

/// Whether an event is its redactor's own, which even a suspended user may take back.
async fn is_own(
    state: &State,
    session: &Session,
    request: &redact_event::Request,
) -> Result<bool, Error> {
    let (room_id, event_id) = (request.room_id.clone(), request.event_id.clone());
    let user = session.user_nid;
    let read = state.store.read(move |tx| {
        let Some(room) = tx.room_by_id(&room_id)? else {
            return Ok(false);
        };
        let event = tx.client_event(room.nid, &event_id)?;
        Ok::<_, luxchat_store::Error>(event.is_some_and(|event| event.sender == user))
    });
    Ok(read.await?)
}

fn transaction(session: &Session, txn_id: OwnedTransactionId) -> Transaction {
    Transaction {
        device_id: session.device_id.clone(),
        txn_id,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn the_same_request_sends_once() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({})).await;
        let first = server.message(&alice, &room, "hello").await;
        assert_eq!(server.message(&alice, &room, "hello").await, first);
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=2");
        let page = server.get(&path, &alice).await.ok();
        assert_eq!(page["chunk"][0]["event_id"], first);
        assert_eq!(page["chunk"][0]["unsigned"]["transaction_id"], "hello");
        assert_ne!(page["chunk"][1]["content"]["body"], "hello");
    }

    #[tokio::test]
    async fn a_suspended_user_takes_back_their_own_words_alone() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let public = json!({ "preset": "public_chat" });
        let room = server.room(&alice, public).await;
        let path = format!("/_matrix/client/v3/rooms/{room}");
        let joined = server.post(&format!("{path}/join"), &bob, json!({})).await;
        joined.ok();
        let own = server.message(&alice, &room, "mine").await;
        let other = server.message(&bob, &room, "his").await;
        let accounts = &server.services.accounts;
        let user_id = ruma::user_id!("@alice:example.org");
        accounts.set_suspended(user_id, true).await.unwrap();
        let redact = async |event: &str| {
            let path = format!("{path}/redact/{event}/txn");
            server.put(&path, &alice, json!({})).await
        };
        assert_eq!(redact(&other).await.error(), (403, "M_USER_SUSPENDED"));
        redact(&own).await.ok();
    }

    #[tokio::test]
    async fn what_is_redacted_says_by_what() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({})).await;
        let secret = server.message(&alice, &room, "secret").await;
        let path = format!("/_matrix/client/v3/rooms/{room}/redact/{secret}/txn");
        let reason = json!({ "reason": "slip" });
        let redaction = server.put(&path, &alice, reason).await.ok();

        let path = format!("/_matrix/client/v3/rooms/{room}/event/{secret}");
        let event = server.get(&path, &alice).await.ok();
        assert_eq!(event["content"], json!({}));
        let because = &event["unsigned"]["redacted_because"];
        assert_eq!(because["event_id"], redaction["event_id"]);
        assert_eq!(because["redacts"], secret);
        assert_eq!(because["content"]["reason"], "slip");
        assert_eq!(because["content"]["redacts"], secret);
    }

    #[tokio::test]
    async fn who_is_not_in_the_room_does_not_send() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let room = server.room(&alice, json!({})).await;
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1");
        let content = json!({ "msgtype": "m.text", "body": "hello" });
        let refused = server.put(&path, &bob, content).await;
        assert_eq!(refused.error(), (403, "M_FORBIDDEN"));
        let not_json = server.put(&path, &alice, json!([1])).await;
        assert_eq!(not_json.error(), (400, "M_BAD_JSON"));
    }
}
