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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    const SYNC: &str = "/_matrix/client/v3/sync?timeout=0";

    #[tokio::test]
    async fn a_message_is_synced_until_the_next_token_shows_that_it_came() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let start = server.get(SYNC, &bob).await.ok();
        let since = start["next_batch"].as_str().unwrap();
        let path = "/_matrix/client/v3/sendToDevice/m.test/txn";
        let body = json!({ "messages": { "@bob:example.org": { "*": { "body": "hello" } } } });
        for _ in 0..2 {
            server.put(path, &alice, body.clone()).await.ok();
        }
        let event = json!({
            "type": "m.test",
            "sender": "@alice:example.org",
            "content": { "body": "hello" },
        });
        let mut next = String::new();
        // A response that got lost is asked for again.
        for _ in 0..2 {
            let synced = server
                .get(&format!("{SYNC}&since={since}"), &bob)
                .await
                .ok();
            assert_eq!(synced["to_device"]["events"], json!([event]));
            next = synced["next_batch"].as_str().unwrap().to_owned();
        }
        let synced = server.get(&format!("{SYNC}&since={next}"), &bob).await.ok();
        assert!(
            synced["to_device"]["events"]
                .as_array()
                .is_none_or(Vec::is_empty)
        );
        // What was acknowledged is gone, even for an older token.
        let synced = server
            .get(&format!("{SYNC}&since={since}"), &bob)
            .await
            .ok();
        assert!(
            synced["to_device"]["events"]
                .as_array()
                .is_none_or(Vec::is_empty)
        );
    }
}
