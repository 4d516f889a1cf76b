//! <https://spec.matrix.org/v1.19/client-server-api/#account-management>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::{
    UserId,
    api::client::account::{
        ThirdPartyIdRemovalStatus, change_password::v3 as change_password,
        deactivate::v3 as deactivate, whoami::v3 as whoami,
    },
    events::room::member::MembershipState,
};
use tracing::warn;

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<whoami::Request, _>(who_am_i)
        .endpoint::<change_password::Request, _>(set_password)
        .endpoint::<deactivate::Request, _>(deactivate)
}

async fn who_am_i(session: Session, _: Matrix<whoami::Request>) -> Answer<whoami::Response> {
    let mut response = whoami::Response::new(session.user_id.clone(), session.is_guest);
    response.device_id = session.has_device().then(|| session.device_id.clone());
    Ok(Reply(response))
}

async fn set_password(
    state: State,
    session: Option<Session>,
    Matrix(request): Matrix<change_password::Request>,
) -> Answer<change_password::Response> {
    state.accounts.check_password(&request.new_password)?;
    let Some(session) = session else {
        return reset_password(&state, request).await;
    };
    state
        .accounts
        .confirm_owner(&session, "change_password", request.auth.as_ref())
        .await?;
    state
        .accounts
        .change_password(&session, request.new_password, request.logout_devices)
        .await?;
    Ok(Reply(change_password::Response::new()))
}

/// Whoever forgot their password, and with it lost all sessions, shows that an e-mail address is theirs.
async fn reset_password(
    state: &State,
    request: change_password::Request,
) -> Answer<change_password::Response> {
    if !state.accounts.sends_email() {
        return Err(ApiError::missing_token().into());
    }
    let user_id = state.accounts.confirm_reset(request.auth.as_ref()).await?;
    state
        .accounts
        .set_password(&user_id, request.new_password, request.logout_devices)
        .await?;
    Ok(Reply(change_password::Response::new()))
}

async fn deactivate(
    state: State,
    session: Session,
    Matrix(request): Matrix<deactivate::Request>,
) -> Answer<deactivate::Response> {
    state
        .accounts
        .confirm_owner(&session, "deactivate", request.auth.as_ref())
        .await?;
    leave_all_rooms(&state, &session.user_id).await?;
    state
        .accounts
        .deactivate(&session.user_id, request.erase)
        .await?;
    let unbound = ThirdPartyIdRemovalStatus::Success;
    Ok(Reply(deactivate::Response::new(unbound)))
}

/// Leaves every room and rejects every invite. A room that cannot be left keeps nobody from going.
pub(crate) async fn leave_all_rooms(state: &State, user_id: &UserId) -> Result<(), Error> {
    let id = user_id.to_owned();
    let rooms = state
        .store
        .read(move |tx| {
            let Some(user) = tx.user_nid(&id)? else {
                return Ok(Vec::new());
            };
            let mut rooms = Vec::new();
            for member in tx.memberships_of_user(user)? {
                use MembershipState::{Invite, Join, Knock};
                if matches!(member.membership, Join | Invite | Knock) {
                    rooms.push(tx.room_id(member.room)?);
                }
            }
            Ok::<_, luxchat_store::Error>(rooms)
        })
        .await?;
    for room_id in rooms {
        if let Err(error) = state.rooms.leave(user_id, &room_id, None).await {
            warn!(%room_id, %error, "a deactivated user could not leave");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{Answered, PASSWORD, Server};

    /// Posts `body`, and again with the password when asked for it.
    async fn confirmed(server: &Server, path: &str, token: &str, mut body: Value) -> Answered {
        let challenge = server.post(path, token, body.clone()).await;
        assert_eq!(challenge.status, 401);
        body["auth"] = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": "alice" },
            "password": PASSWORD,
            "session": challenge.body["session"],
        });
        server.post(path, token, body).await
    }

    #[tokio::test]
    async fn a_password_is_changed() {
        let server = Server::new();
        let token = server.user("alice").await;
        let path = "/_matrix/client/v3/account/password";
        let weak = server
            .post(path, &token, json!({ "new_password": "short" }))
            .await;
        assert_eq!(weak.error(), (400, "M_WEAK_PASSWORD"));
        let body = json!({ "new_password": "battery staple" });
        confirmed(&server, path, &token, body).await.ok();
        let old = server.log_in("alice", json!({})).await;
        assert_eq!(old.error(), (403, "M_FORBIDDEN"));
        let new = server
            .log_in("alice", json!({ "password": "battery staple" }))
            .await;
        new.ok();
    }

    #[tokio::test]
    async fn a_deactivated_user_leaves_their_rooms() {
        let server = Server::new();
        let token = server.user("alice").await;
        let bob = server.user("bob").await;
        let room = json!({ "preset": "public_chat" });
        let room = server
            .post("/_matrix/client/v3/createRoom", &bob, room)
            .await
            .ok();
        let room = room["room_id"].as_str().unwrap();
        let join = format!("/_matrix/client/v3/rooms/{room}/join");
        server.post(&join, &token, json!({})).await.ok();

        let path = "/_matrix/client/v3/account/deactivate";
        let answer = confirmed(&server, path, &token, json!({ "erase": true })).await;
        assert_eq!(answer.ok()["id_server_unbind_result"], "success");
        let after = server
            .get("/_matrix/client/v3/account/whoami", &token)
            .await;
        assert_eq!(after.error(), (401, "M_UNKNOWN_TOKEN"));
        let login = server.log_in("alice", json!({})).await;
        assert_eq!(login.error(), (403, "M_USER_DEACTIVATED"));
        let member =
            format!("/_matrix/client/v3/rooms/{room}/state/m.room.member/@alice:example.org");
        assert_eq!(server.get(&member, &bob).await.ok()["membership"], "leave");
    }

    #[tokio::test]
    async fn there_are_no_third_party_ids() {
        let server = Server::new();
        let token = server.user("alice").await;
        let answer = server.get("/_matrix/client/v3/account/3pid", &token).await;
        assert_eq!(answer.ok(), json!({ "threepids": [] }));
    }

    #[tokio::test]
    async fn what_an_erased_user_said_is_for_those_who_were_there() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let public = json!({ "preset": "public_chat" });
        let room = server.room(&alice, public).await;
        let path = format!("/_matrix/client/v3/rooms/{room}");
        let join = format!("{path}/join");
        server.post(&join, &bob, json!({})).await.ok();
        let event = server.message(&alice, &room, "secret").await;
        let deactivate = "/_matrix/client/v3/account/deactivate";
        let body = json!({ "erase": true });
        confirmed(&server, deactivate, &alice, body).await.ok();

        let carol = server.user("carol").await;
        server.post(&join, &carol, json!({})).await.ok();
        let event = format!("{path}/event/{event}");
        let content = async |token: &str| server.get(&event, token).await.ok()["content"].clone();
        assert_eq!(content(&bob).await["body"], "secret");
        assert_eq!(content(&carol).await, json!({}));

        let filter = "%7B%22event_format%22%3A%22federation%22%7D";
        let sync = format!("/_matrix/client/v3/sync?filter={filter}");
        let synced = server.get(&sync, &carol).await.ok();
        assert!(synced["rooms"]["join"][&room]["timeline"].is_object());
        assert!(!synced.to_string().contains("secret"));
        let synced = server.get(&sync, &bob).await.ok();
        assert!(synced.to_string().contains("secret"));
    }
}
