//! <https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room>

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json, Router,
    extract::RawQuery,
    response::{IntoResponse, Response},
};
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use luxchat_rooms::SendEvent;
use luxchat_sync::Error as SyncError;
use ruma::{
    OwnedMxcUri, OwnedUserId, RoomId,
    api::client::{
        delayed_events::delayed_state_event::unstable as delayed_state_event,
        membership::{
            get_member_events::v3 as get_member_events, joined_members::v3 as joined_members,
            joined_rooms::v3 as joined_rooms,
        },
        state::{
            get_state_event_for_key::v3::{self as get_state_event, StateEventFormat},
            get_state_events::v3 as get_state_events,
            send_state_event::v3 as send_state_event,
        },
    },
    events::{StateEventType, room::member::MembershipState},
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    State,
    auth::Session,
    endpoints::delayed_events::delay_of,
    error::{Answer, Error},
    guests, notices,
};

/// How long a client that asks for members waits for those that are still being fetched.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn routes() -> Router<State> {
    // The state key may be empty, and then its slash may be missing.
    let keyless = [
        "/_matrix/client/r0/rooms/{room_id}/state/{event_type}",
        "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/",
        "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
        "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/",
    ];
    let router = Router::new()
        .endpoint::<get_state_events::Request, _>(all)
        .endpoint::<get_state_event::Request, _>(one)
        .endpoint::<send_state_event::Request, _>(send)
        .endpoint::<get_member_events::Request, _>(members)
        .endpoint::<joined_members::Request, _>(members_joined)
        .endpoint::<joined_rooms::Request, _>(rooms_joined);
    keyless.into_iter().fold(router, |router, path| {
        router
            .endpoint_at::<get_state_event::Request, _>(path, one)
            .endpoint_at::<send_state_event::Request, _>(path, send)
    })
}

async fn all(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_state_events::Request>,
) -> Answer<get_state_events::Response> {
    await_members(&state, &session, &request.room_id).await?;
    let events = state.sync.state(session.viewer(), request.room_id).await?;
    Ok(Reply(get_state_events::Response::new(events)))
}

async fn one(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_state_event::Request>,
) -> Answer<get_state_event::Response> {
    let find = || {
        state.sync.state_event(
            session.viewer(),
            request.room_id.clone(),
            request.event_type.clone(),
            request.state_key.clone(),
        )
    };
    let event = match find().await {
        Err(SyncError::NotFound(_)) if request.event_type == StateEventType::RoomMember => {
            await_members(&state, &session, &request.room_id).await?;
            find().await?
        }
        found => found?,
    };
    if request.format == StateEventFormat::Event {
        return Ok(Reply(event.into()));
    }
    let content = event.get_field::<Box<RawValue>>("content");
    match content {
        Ok(Some(content)) => Ok(Reply(get_state_event::Response::new(content))),
        Ok(None) => Err(ApiError::internal("a state event without content").into()),
        Err(error) => Err(ApiError::internal(error).into()),
    }
}

async fn send(
    state: State,
    session: Session,
    RawQuery(query): RawQuery,
    Matrix(request): Matrix<send_state_event::Request>,
) -> Result<Response, Error> {
    session.check_not_suspended()?;
    if request.event_type == StateEventType::RoomMember && request.state_key == session.user_id {
        let membership = request.body.get_field::<MembershipState>("membership");
        if matches!(membership, Ok(Some(MembershipState::Leave))) {
            notices::check_may_leave(&state, session.user_nid, &request.room_id).await?;
        } else {
            guests::check_join(&state, &session, &request.room_id).await?;
        }
    }
    let event = SendEvent {
        sender: session.user_id.clone(),
        room_id: request.room_id,
        event_type: request.event_type.to_string().into(),
        state_key: Some(request.state_key),
        content: request.body.into_json(),
        transaction: None,
    };
    if let Some(delay) = delay_of(query.as_deref())? {
        let delay_id = state.rooms.delay(event, delay).await?;
        return Ok(Reply(delayed_state_event::Response::new(delay_id)).into_response());
    }
    let timestamp = session.massaged(request.timestamp);
    let event_id = state.rooms.send_at(event, timestamp).await?;
    Ok(Reply(send_state_event::Response::new(event_id)).into_response())
}

/// Waits for members that are missing from the state of a room which the user may read.
async fn await_members(state: &State, session: &Session, room_id: &RoomId) -> Result<(), Error> {
    let room = room_id.to_owned();
    state.sync.check_readable(session.viewer(), room).await?;
    state.rooms.await_members(room_id, PATIENCE).await?;
    Ok(())
}

async fn members(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_member_events::Request>,
) -> Answer<get_member_events::Response> {
    await_members(&state, &session, &request.room_id).await?;
    let chunk = state.sync.members(session.viewer(), request).await?;
    Ok(Reply(get_member_events::Response::new(chunk)))
}

/// With null for what a member lacks, which ruma's type and the specification's schema leave out: other servers have the
/// fields always, and Complement asks for them.
#[derive(Serialize)]
struct JoinedMembers {
    joined: BTreeMap<OwnedUserId, JoinedMember>,
}

#[derive(Serialize)]
struct JoinedMember {
    display_name: Option<String>,
    avatar_url: Option<OwnedMxcUri>,
}

async fn members_joined(
    state: State,
    session: Session,
    Matrix(request): Matrix<joined_members::Request>,
) -> Result<Json<JoinedMembers>, Error> {
    await_members(&state, &session, &request.room_id).await?;
    let joined = state
        .sync
        .joined_members(session.viewer(), request.room_id)
        .await?;
    let joined = joined.into_iter().map(|(user_id, member)| {
        let member = JoinedMember {
            display_name: member.display_name,
            avatar_url: member.avatar_url,
        };
        (user_id, member)
    });
    Ok(Json(JoinedMembers {
        joined: joined.collect(),
    }))
}

async fn rooms_joined(
    state: State,
    session: Session,
    Matrix(_): Matrix<joined_rooms::Request>,
) -> Answer<joined_rooms::Response> {
    let rooms = state.sync.joined_rooms(session.viewer()).await?;
    Ok(Reply(joined_rooms::Response::new(rooms)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn state_is_set_and_read_with_and_without_a_key() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({})).await;
        let path = format!("/_matrix/client/v3/rooms/{room}/state");
        let topic = json!({ "topic": "weather" });
        for (set, read) in [
            ("m.room.topic", "m.room.topic/"),
            ("m.room.topic/", "m.room.topic"),
        ] {
            let set = format!("{path}/{set}");
            server.put(&set, &alice, topic.clone()).await.ok();
            let read = server.get(&format!("{path}/{read}"), &alice).await.ok();
            assert_eq!(read["topic"], "weather");
        }
        let event = format!("{path}/m.room.topic?format=event");
        let event = server.get(&event, &alice).await.ok();
        assert_eq!(event["room_id"], room);
        let missing = server.get(&format!("{path}/m.room.name"), &alice).await;
        assert_eq!(missing.error(), (404, "M_NOT_FOUND"));
        let all = server.get(&path, &alice).await.ok();
        let mut all = all.as_array().unwrap().iter();
        assert!(all.any(|it| it["event_id"] == event["event_id"]));
    }

    #[tokio::test]
    async fn members_are_told_at_a_place_and_with_what_they_lack() {
        let server = Server::new();
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server
            .room(&alice, json!({ "preset": "public_chat" }))
            .await;
        let synced = server.get("/_matrix/client/v3/sync", &alice).await.ok();
        let timeline = &synced["rooms"]["join"][&room]["timeline"];
        let start = timeline["prev_batch"].as_str().unwrap();
        let path = format!("/_matrix/client/v3/rooms/{room}");
        let join = format!("{path}/join");
        server.post(&join, &bob, json!({})).await.ok();
        let at = format!("{path}/members?at={start}");
        let members = server.get(&at, &alice).await.ok();
        let members = members["chunk"].as_array().unwrap();
        assert_eq!(members.len(), 1);
        assert_eq!(members[0]["state_key"], "@alice:example.org");
        let joined = format!("{path}/joined_members");
        let joined = server.get(&joined, &alice).await.ok();
        let nothing = json!({ "display_name": null, "avatar_url": null });
        assert_eq!(joined["joined"]["@bob:example.org"], nothing);
    }

    #[tokio::test]
    async fn strangers_are_told_nothing() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let room = server.room(&alice, json!({})).await;
        for path in ["state", "state/m.room.create", "members", "joined_members"] {
            for room in [&room, "!unknown:example.org"] {
                let path = format!("/_matrix/client/v3/rooms/{room}/{path}");
                let refused = server.get(&path, &bob).await;
                assert_eq!(refused.error(), (403, "M_FORBIDDEN"), "{path}");
            }
        }
        let rooms = "/_matrix/client/v3/joined_rooms";
        let joined = |token| server.get(rooms, token);
        assert_eq!(joined(&alice).await.ok()["joined_rooms"], json!([room]));
        assert_eq!(joined(&bob).await.ok()["joined_rooms"], json!([]));
    }
}
