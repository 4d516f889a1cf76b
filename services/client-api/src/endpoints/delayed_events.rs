//! [MSC4140](https://github.com/matrix-org/matrix-spec-proposals/pull/4140)

use std::time::Duration;

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use luxchat_rooms::{SendEvent, Transaction};
use luxchat_store::{DelayOutcome, DelayedEvent};
use ruma::{
    MilliSecondsSinceUnixEpoch, UInt,
    api::{
        client::delayed_events::{
            DelayedEventData,
            get_all_delayed_events::unstable as get_all,
            get_delayed_event::unstable as get_one,
            send_delayed_event::unstable as send_later,
            update_delayed_event::{
                UpdateAction, unstable_v1 as update_by_body, unstable_v2 as update,
            },
        },
        error::{ErrorKind, StandardErrorBody},
    },
    serde::Raw,
};

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
};

/// The query parameter that makes a message or state event a delayed one.
const DELAY: &str = "org.matrix.msc4140.delay";

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<send_later::Request, _>(delay)
        .endpoint::<get_all::Request, _>(all)
        .endpoint::<get_one::Request, _>(one)
        .endpoint::<update::Request, _>(change)
        .endpoint::<update_by_body::Request, _>(change_by_body)
}

/// The delay that a query asks for, if it does.
///
/// # Errors
///
/// 400 `M_INVALID_PARAM` for what is no number of milliseconds.
pub(crate) fn delay_of(query: Option<&str>) -> Result<Option<Duration>, Error> {
    let pairs = query.unwrap_or_default().split('&');
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(DELAY)?.strip_prefix('='));
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let delay = value.parse().map(Duration::from_millis);
    let delay =
        delay.map_err(|_| ApiError::invalid_param(format!("{DELAY} must be milliseconds")))?;
    Ok(Some(delay))
}

async fn delay(
    state: State,
    session: Session,
    Matrix(request): Matrix<send_later::Request>,
) -> Answer<send_later::Response> {
    session.check_not_suspended()?;
    let event = SendEvent {
        sender: session.user_id.clone(),
        room_id: request.room_id,
        event_type: request.event_type,
        state_key: request.state_key,
        content: request.content.into_json(),
        transaction: Some(Transaction {
            device_id: session.device_id.clone(),
            txn_id: request.txn_id,
        }),
    };
    let delay_id = state.rooms.delay(event, request.delay).await?;
    Ok(Reply(send_later::Response::new(delay_id)))
}

async fn all(
    state: State,
    session: Session,
    _: Matrix<get_all::Request>,
) -> Answer<get_all::Response> {
    let events = state.rooms.delayed_events(&session.user_id).await?;
    let events = events.into_iter().map(data).collect::<Result<_, _>>()?;
    Ok(Reply(get_all::Response::new(events)))
}

async fn one(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_one::Request>,
) -> Answer<get_one::Response> {
    let event = state
        .rooms
        .delayed_event(&session.user_id, request.delay_id)
        .await?;
    Ok(Reply(get_one::Response::new(data(event)?)))
}

/// Who knows the name may do so: a call's server cancels what its clients can no longer.
async fn change(
    state: State,
    Matrix(request): Matrix<update::Request>,
) -> Answer<update::Response> {
    act(&state, request.delay_id, &request.action).await?;
    Ok(Reply(update::Response::new()))
}

/// What came before the action was part of the path: for the user alone.
async fn change_by_body(
    state: State,
    session: Session,
    Matrix(request): Matrix<update_by_body::Request>,
) -> Answer<update_by_body::Response> {
    let delay_id = request.delay_id.clone();
    state
        .rooms
        .delayed_event(&session.user_id, delay_id)
        .await?;
    act(&state, request.delay_id, &request.action).await?;
    Ok(Reply(update_by_body::Response::new()))
}

async fn act(state: &State, delay_id: String, action: &UpdateAction) -> Result<(), Error> {
    match action {
        UpdateAction::Restart => state.rooms.restart_delayed(delay_id).await?,
        UpdateAction::Send => state.rooms.send_delayed(delay_id).await?,
        UpdateAction::Cancel => state.rooms.cancel_delayed(delay_id).await?,
        _ => return Err(ApiError::not_found("There is no such action").into()),
    }
    Ok(())
}

fn data(event: DelayedEvent) -> Result<DelayedEventData, Error> {
    let timestamp = |ms: u64| MilliSecondsSinceUnixEpoch(UInt::new_saturating(ms));
    let mut data = DelayedEventData::new(
        event.delay_id,
        event.room_id,
        event.event_type.into(),
        event.state_key,
        Raw::from_json_string(event.content).map_err(ApiError::internal)?,
        Duration::from_millis(event.delay_ms),
        timestamp(event.due_ms.saturating_sub(event.delay_ms)),
    );
    if let Some(end) = event.end {
        data.finalized_ts = Some(timestamp(end.at_ms));
        match end.outcome {
            DelayOutcome::Sent(event_id) => data.event_id = Some(event_id),
            DelayOutcome::Failed(error) => {
                data.error = Some(StandardErrorBody::new(ErrorKind::Forbidden, error));
            }
            DelayOutcome::Cancelled => {}
        }
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::Server;

    const DELAYED: &str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";

    #[test]
    fn a_query_may_ask_for_a_delay() {
        assert_eq!(delay_of(None).unwrap(), None);
        assert_eq!(delay_of(Some("a=b&delay=5")).unwrap(), None);
        let asked = delay_of(Some("a=b&org.matrix.msc4140.delay=5"));
        assert_eq!(asked.unwrap(), Some(Duration::from_millis(5)));
        assert!(delay_of(Some("org.matrix.msc4140.delay=-5")).is_err());
    }

    #[tokio::test]
    async fn an_event_waits_until_somebody_who_knows_its_name_sends_it() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let room = server.room(&alice, json!({})).await;
        let state = format!("/_matrix/client/v3/rooms/{room}/state/org.example/key");
        let path = format!("{state}?{DELAY}=100000");
        let asked = server.put(&path, &alice, json!({ "a": 1 })).await.ok();
        let delay_id = asked["delay_id"].as_str().unwrap();
        assert_eq!(server.get(&state, &alice).await.error().0, 404);

        let waiting = server.get(DELAYED, &alice).await.ok();
        let waiting = &waiting["delayed_events"][0];
        assert_eq!(waiting["delay_id"], delay_id);
        assert_eq!(waiting["content"], json!({ "a": 1 }));
        assert_eq!(waiting["delay"], 100_000);
        let others = server.get(DELAYED, &bob).await.ok();
        assert_eq!(others["delayed_events"], json!([]));
        let path = format!("{DELAYED}/{delay_id}");
        assert_eq!(server.get(&path, &bob).await.error(), (404, "M_NOT_FOUND"));

        for (action, expected) in [
            ("restart", 200),
            ("oops", 404),
            ("send", 200),
            ("send", 404),
        ] {
            let path = format!("{DELAYED}/{delay_id}/{action}");
            let answer = server.send(Method::POST, &path, None, Value::Null).await;
            assert_eq!(answer.status.as_u16(), expected, "{action}");
        }
        assert_eq!(server.get(&state, &alice).await.ok(), json!({ "a": 1 }));
        let ended = server.get(&path, &alice).await.ok();
        assert!(ended["event_id"].is_string() && ended["finalised_ts"].is_number());
    }

    #[tokio::test]
    async fn messages_wait_too_but_not_for_ever() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({})).await;
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1?{DELAY}");
        let message = json!({ "msgtype": "m.text", "body": "later" });
        let delayed = format!("{path}=9000");
        let first = server.put(&delayed, &alice, message.clone()).await.ok();
        let again = server.put(&delayed, &alice, message.clone()).await.ok();
        assert_eq!(again, first);
        let long = format!("{path}=90000000000");
        let refused = server.put(&long, &alice, message.clone()).await;
        assert_eq!(refused.error(), (400, "M_UNKNOWN"));
        assert_eq!(
            refused.body["org.matrix.msc4140.errcode"],
            "M_MAX_DELAY_EXCEEDED"
        );
        let nonsense = server.put(&format!("{path}=x"), &alice, message).await;
        assert_eq!(nonsense.error(), (400, "M_INVALID_PARAM"));
    }
}
