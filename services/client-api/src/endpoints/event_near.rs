//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::api::client::room::get_event_by_timestamp::v1 as by_time;
use tracing::debug;

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<by_time::Request, _>(event_near)
}

async fn event_near(
    state: State,
    session: Session,
    Matrix(request): Matrix<by_time::Request>,
) -> Answer<by_time::Response> {
    let (room_id, time, direction) = (request.room_id, request.ts, request.dir);
    let look = || {
        state
            .sync
            .event_near(session.viewer(), room_id.clone(), time, direction)
    };
    let mut near = look().await?;
    if near.wants_peers {
        match state
            .rooms
            .fetch_event_near(&room_id, time, direction)
            .await
        {
            Ok(true) => near = look().await?,
            Ok(false) => {}
            Err(error) => debug!(%error, "no event of that time from other servers"),
        }
    }
    let (event_id, sent) = near
        .event
        .ok_or_else(|| ApiError::not_found("There is no event on that side of that time"))?;
    Ok(Reply(by_time::Response::new(event_id, sent)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn the_nearest_event_that_the_user_may_see_is_named() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let room = server.room(&alice, json!({})).await;
        let path = format!("/_matrix/client/v1/rooms/{room}/timestamp_to_event");
        let last = server.message(&alice, &room, "last").await;

        let future = format!("{path}?ts=9000000000000&dir=b");
        assert_eq!(server.get(&future, &alice).await.ok()["event_id"], last);
        let past = format!("{path}?ts=1&dir=f");
        let first = server.get(&past, &alice).await.ok();
        let first = first["event_id"].as_str().unwrap();
        let event = format!("/_matrix/client/v3/rooms/{room}/event/{first}");
        let event = server.get(&event, &alice).await.ok();
        assert_eq!(event["type"], "m.room.create");

        for nothing in ["ts=1&dir=b", "ts=9000000000000&dir=f"] {
            let answer = server.get(&format!("{path}?{nothing}"), &alice).await;
            assert_eq!(answer.error(), (404, "M_NOT_FOUND"), "{nothing}");
        }
        let answer = server.get(&past, &bob).await;
        assert_eq!(answer.error(), (403, "M_FORBIDDEN"));
    }
}
