//! <https://spec.matrix.org/v1.19/client-server-api/#room-membership>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, MatrixWithBody, Reply};
use luxchat_rooms::{Join, Moderate};
use ruma::{
    CanonicalJsonObject, OwnedRoomId, OwnedRoomOrAliasId, OwnedServerName, OwnedUserId, RoomId,
    api::client::{
        knock::knock_room::v3 as knock_room,
        membership::{
            ban_user::v3 as ban_user,
            forget_room::v3 as forget_room,
            invite_user::v3::{self as invite_user, InvitationRecipient},
            join_room_by_id::v3 as join_room_by_id,
            join_room_by_id_or_alias::v3 as join_room_by_id_or_alias,
            kick_user::v3 as kick_user,
            leave_room::v3 as leave_room,
            unban_user::v3 as unban_user,
        },
    },
    canonical_json::to_canonical_value,
};

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
    guests, notices,
    service::resolve_alias,
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<join_room_by_id::Request, _>(join)
        .endpoint::<join_room_by_id_or_alias::Request, _>(join_by_id_or_alias)
        .endpoint::<knock_room::Request, _>(knock)
        .endpoint::<invite_user::Request, _>(invite)
        .endpoint::<leave_room::Request, _>(leave)
        .endpoint::<kick_user::Request, _>(kick)
        .endpoint::<ban_user::Request, _>(ban)
        .endpoint::<unban_user::Request, _>(unban)
        .endpoint::<forget_room::Request, _>(forget)
}

async fn join(
    state: State,
    session: Session,
    MatrixWithBody { request, body }: MatrixWithBody<join_room_by_id::Request>,
) -> Answer<join_room_by_id::Response> {
    session.check_not_suspended()?;
    check_open(&state, &request.room_id).await?;
    guests::check_join(&state, &session, &request.room_id).await?;
    let join = Join {
        user: session.user_id.clone(),
        room_id: request.room_id.clone(),
        via: Vec::new(),
        reason: request.reason,
        extra: extra(body)?,
    };
    state.rooms.join(join).await?;
    Ok(Reply(join_room_by_id::Response::new(request.room_id)))
}

async fn join_by_id_or_alias(
    state: State,
    session: Session,
    MatrixWithBody { request, body }: MatrixWithBody<join_room_by_id_or_alias::Request>,
) -> Answer<join_room_by_id_or_alias::Response> {
    session.check_not_suspended()?;
    let (room_id, via) = find(&state, request.room_id_or_alias, request.via).await?;
    check_open(&state, &room_id).await?;
    let join = Join {
        user: session.user_id.clone(),
        room_id: room_id.clone(),
        via,
        reason: request.reason,
        extra: extra(body)?,
    };
    state.rooms.join(join).await?;
    Ok(Reply(join_room_by_id_or_alias::Response::new(room_id)))
}

async fn knock(
    state: State,
    session: Session,
    MatrixWithBody { request, body }: MatrixWithBody<knock_room::Request>,
) -> Answer<knock_room::Response> {
    session.check_not_suspended()?;
    let (room_id, via) = find(&state, request.room_id_or_alias, request.via).await?;
    check_open(&state, &room_id).await?;
    let knock = Join {
        user: session.user_id.clone(),
        room_id: room_id.clone(),
        via,
        reason: request.reason,
        extra: extra(body)?,
    };
    state.rooms.knock(knock).await?;
    Ok(Reply(knock_room::Response::new(room_id)))
}

async fn invite(
    state: State,
    session: Session,
    Matrix(request): Matrix<invite_user::Request>,
) -> Answer<invite_user::Response> {
    session.check_not_suspended()?;
    let InvitationRecipient::UserId(invited) = request.recipient else {
        let message = "This server knows nobody by e-mail address or phone number";
        return Err(ApiError::forbidden(message).into());
    };
    state.application_services.summon(&invited.user_id).await?;
    let invite = Moderate {
        sender: session.user_id.clone(),
        room_id: request.room_id,
        target: invited.user_id,
        reason: invited.reason,
    };
    state.rooms.invite(invite, false).await?;
    Ok(Reply(invite_user::Response::new()))
}

async fn leave(
    state: State,
    session: Session,
    Matrix(request): Matrix<leave_room::Request>,
) -> Answer<leave_room::Response> {
    notices::check_may_leave(&state, session.user_nid, &request.room_id).await?;
    state
        .rooms
        .leave(&session.user_id, &request.room_id, request.reason)
        .await?;
    Ok(Reply(leave_room::Response::new()))
}

async fn kick(
    state: State,
    session: Session,
    Matrix(request): Matrix<kick_user::Request>,
) -> Answer<kick_user::Response> {
    session.check_not_suspended()?;
    let kick = moderate(&session, request.room_id, request.user_id, request.reason);
    state.rooms.kick(kick).await?;
    Ok(Reply(kick_user::Response::new()))
}

async fn ban(
    state: State,
    session: Session,
    Matrix(request): Matrix<ban_user::Request>,
) -> Answer<ban_user::Response> {
    session.check_not_suspended()?;
    let ban = moderate(&session, request.room_id, request.user_id, request.reason);
    state.rooms.ban(ban).await?;
    Ok(Reply(ban_user::Response::new()))
}

async fn unban(
    state: State,
    session: Session,
    Matrix(request): Matrix<unban_user::Request>,
) -> Answer<unban_user::Response> {
    session.check_not_suspended()?;
    let unban = moderate(&session, request.room_id, request.user_id, request.reason);
    state.rooms.unban(unban).await?;
    Ok(Reply(unban_user::Response::new()))
}

async fn forget(
    state: State,
    session: Session,
    Matrix(request): Matrix<forget_room::Request>,
) -> Answer<forget_room::Response> {
    state
        .rooms
        .forget(&session.user_id, &request.room_id)
        .await?;
    Ok(Reply(forget_room::Response::new()))
}

/// What a client adds to its membership event.
fn extra(body: serde_json::Map<String, serde_json::Value>) -> Result<CanonicalJsonObject, Error> {
    let fields = body.into_iter().map(|(field, value)| {
        let value =
            to_canonical_value(value).map_err(|error| ApiError::bad_json(error.to_string()))?;
        Ok((field, value))
    });
    fields.collect()
}

fn moderate(
    session: &Session,
    room_id: OwnedRoomId,
    target: OwnedUserId,
    reason: Option<String>,
) -> Moderate {
    Moderate {
        sender: session.user_id.clone(),
        room_id,
        target,
        reason,
    }
}

/// Makes sure that no administrator has closed a room to the users of this server.
async fn check_open(state: &State, room_id: &RoomId) -> Result<(), Error> {
    let room_id = room_id.to_owned();
    let blocker = state.store.read(move |tx| tx.room_blocked_by(&room_id));
    if blocker.await?.is_some() {
        return Err(ApiError::forbidden("This room has been blocked on this server").into());
    }
    Ok(())
}

/// The room that a client means, and the servers through which it can be reached.
pub(crate) async fn find(
    state: &State,
    room: OwnedRoomOrAliasId,
    mut via: Vec<OwnedServerName>,
) -> Result<(OwnedRoomId, Vec<OwnedServerName>), Error> {
    match <&RoomId>::try_from(&*room) {
        Ok(room_id) => Ok((room_id.to_owned(), via)),
        Err(alias) => {
            let target = resolve_alias(state, alias).await?;
            via.extend(target.servers);
            Ok((target.room_id, via))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{Answered, Server};

    const BOB: &str = "@bob:example.org";

    async fn act(server: &Server, token: &str, room: &str, act: &str, body: Value) -> Answered {
        let path = format!("/_matrix/client/v3/rooms/{room}/{act}");
        server.post(&path, token, body).await
    }

    #[tokio::test]
    async fn a_join_bears_what_the_client_adds_but_not_what_the_server_says() {
        let server = Server::new();
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server
            .room(&alice, json!({ "preset": "public_chat" }))
            .await;
        let body = json!({ "foo": "bar", "membership": "ban", "join_authorised_via_users_server": "@x:y" });
        act(&server, &bob, &room, "join", body).await.ok();
        let path = format!("/_matrix/client/v3/rooms/{room}/state/m.room.member/{BOB}");
        let content = server.get(&path, &bob).await.ok();
        assert_eq!(content, json!({ "foo": "bar", "membership": "join" }));
        let broken = act(&server, &alice, &room, "join", json!({ "foo": 0.5 })).await;
        assert_eq!(broken.error(), (400, "M_BAD_JSON"));
    }

    #[tokio::test]
    async fn an_invited_user_joins_is_banned_and_comes_back() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let room = server
            .room(&alice, json!({ "preset": "private_chat" }))
            .await;
        let target = json!({ "user_id": BOB });

        let uninvited = act(&server, &bob, &room, "join", json!({})).await;
        assert_eq!(uninvited.error(), (403, "M_FORBIDDEN"));
        act(&server, &alice, &room, "invite", target.clone())
            .await
            .ok();
        act(&server, &bob, &room, "join", json!({})).await.ok();
        act(&server, &alice, &room, "ban", target.clone())
            .await
            .ok();
        let banned = act(&server, &bob, &room, "join", json!({})).await;
        assert_eq!(banned.error(), (403, "M_FORBIDDEN"));
        act(&server, &alice, &room, "unban", target.clone())
            .await
            .ok();
        act(&server, &alice, &room, "invite", target.clone())
            .await
            .ok();
        act(&server, &bob, &room, "join", json!({})).await.ok();
        act(&server, &alice, &room, "kick", target).await.ok();
        act(&server, &bob, &room, "forget", json!({})).await.ok();

        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b");
        let forgotten = server.get(&path, &bob).await;
        assert_eq!(forgotten.error(), (403, "M_FORBIDDEN"));
    }

    #[tokio::test]
    async fn a_room_is_joined_by_its_alias() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let request = json!({ "preset": "public_chat", "room_alias_name": "weather" });
        let room = server.room(&alice, request).await;
        let path = "/_matrix/client/v3/join/%23weather:example.org";
        let joined = server.post(path, &bob, json!({})).await.ok();
        assert_eq!(joined["room_id"], room);
        // A body that says nothing need not be there.
        server.post(path, &bob, Value::Null).await.ok();
        let path = format!("/_matrix/client/v3/rooms/{room}/leave");
        server.post(&path, &bob, Value::Null).await.ok();
        let unknown = "/_matrix/client/v3/join/%23nowhere:example.org";
        let unknown = server.post(unknown, &bob, json!({})).await;
        assert_eq!(unknown.error(), (404, "M_NOT_FOUND"));
    }

    #[tokio::test]
    async fn a_knock_is_answered_with_an_invite() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let rule = json!({
            "initial_state": [
                { "type": "m.room.join_rules", "content": { "join_rule": "knock" } },
            ],
        });
        let room = server.room(&alice, rule).await;
        let path = format!("/_matrix/client/v3/knock/{room}");
        server.post(&path, &bob, json!({})).await.ok();
        let sync = "/_matrix/client/v3/sync";
        let synced = server.get(sync, &bob).await.ok();
        assert!(synced["rooms"]["knock"][&room]["knock_state"]["events"].is_array());
        let target = json!({ "user_id": BOB });
        act(&server, &alice, &room, "invite", target).await.ok();
        act(&server, &bob, &room, "join", json!({})).await.ok();
        let synced = server.get(sync, &bob).await.ok();
        assert!(synced["rooms"]["join"][&room].is_object());
    }
}
