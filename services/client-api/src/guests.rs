//! What guests may do, and where they may be.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#guest-access).

use axum::extract::MatchedPath;
use http::{StatusCode, request::Parts};
use luxchat_http::ApiError;
use luxchat_store::{Position, ReadTx, RoomNid};
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId,
    api::error::ErrorKind,
    events::{
        StateEventType,
        room::guest_access::{GuestAccess, RoomGuestAccessEventContent},
    },
};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Services, State, auth::Session, error::Error};

/// What the specification lets guests ask, below the version in the path. Logging out is added: they can always go.
const ALLOWED: &[(&str, &str)] = &[
    ("GET", "rooms/{}/state"),
    ("GET", "rooms/{}/context/{}"),
    ("GET", "rooms/{}/event/{}"),
    ("GET", "rooms/{}/state/{}"),
    ("GET", "rooms/{}/state/{}/{}"),
    ("GET", "rooms/{}/messages"),
    ("GET", "rooms/{}/members"),
    ("GET", "rooms/{}/initialSync"),
    ("GET", "sync"),
    ("GET", "events"),
    ("GET", "media/download/{}/{}"),
    ("GET", "media/download/{}/{}/{}"),
    ("GET", "media/thumbnail/{}/{}"),
    ("POST", "rooms/{}/join"),
    ("POST", "rooms/{}/leave"),
    ("PUT", "rooms/{}/send/{}/{}"),
    ("PUT", "rooms/{}/state/{}"),
    ("PUT", "rooms/{}/state/{}/{}"),
    ("PUT", "sendToDevice/{}/{}"),
    ("PUT", "profile/{}/displayname"),
    ("DELETE", "profile/{}/displayname"),
    ("GET", "devices"),
    ("GET", "devices/{}"),
    ("PUT", "devices/{}"),
    ("GET", "account/whoami"),
    ("POST", "keys/upload"),
    ("POST", "keys/query"),
    ("POST", "keys/claim"),
    ("POST", "logout"),
    ("POST", "logout/all"),
];

/// Makes sure that a guest may make a request at all.
///
/// # Errors
///
/// 403 `M_GUEST_ACCESS_FORBIDDEN`.
pub(crate) fn check_request(parts: &Parts) -> Result<(), ApiError> {
    let template = parts.extensions.get::<MatchedPath>();
    let template = template.map_or(parts.uri.path(), MatchedPath::as_str);
    if is_allowed(parts.method.as_str(), template, parts.uri.path()) {
        return Ok(());
    }
    Err(forbidden("Guests may not do this"))
}

/// Makes sure that a session that is a guest's may come into a room.
///
/// # Errors
///
/// 403 `M_GUEST_ACCESS_FORBIDDEN`, also for rooms that this server is not in: it does not know.
pub(crate) async fn check_join(
    state: &State,
    session: &Session,
    room_id: &RoomId,
) -> Result<(), Error> {
    if !session.is_guest {
        return Ok(());
    }
    let room_id = room_id.to_owned();
    let is_open = state.store.read(move |tx| match tx.room_by_id(&room_id)? {
        Some(room) => takes_guests(tx, room.nid),
        None => Ok(false),
    });
    if is_open.await? {
        return Ok(());
    }
    Err(forbidden("The room takes no guests").into())
}

fn forbidden(message: &str) -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        ErrorKind::GuestAccessForbidden,
        message,
    )
}

fn is_allowed(method: &str, template: &str, path: &str) -> bool {
    // "", "_matrix", "client", version.
    let template = template.split('/').skip(4);
    let asked: Vec<(&str, &str)> = template.zip(path.split('/').skip(4)).collect();
    ALLOWED.iter().any(|(allowed, pattern)| {
        let pattern: Vec<&str> = pattern.split('/').collect();
        *allowed == method
            && pattern.len() == asked.len()
            && pattern
                .iter()
                .zip(&asked)
                .all(|(part, (template, actual))| {
                    part == actual || (*part == "{}" && template.starts_with('{'))
                })
    })
}

/// Whether a room takes guests.
fn takes_guests(tx: &ReadTx<'_>, room: RoomNid) -> Result<bool, luxchat_store::Error> {
    #[derive(Deserialize)]
    struct Event {
        content: RoomGuestAccessEventContent,
    }
    let Some(event) = tx.current_state_event(room, &StateEventType::RoomGuestAccess, "")? else {
        return Ok(false);
    };
    let event = serde_json::from_str::<Event>(event.pdu()?.json());
    Ok(event.is_ok_and(|event| event.content.guest_access == GuestAccess::CanJoin))
}

/// Takes guests out of rooms that no longer take any, for as long as the server runs.
pub async fn keep_guests_out(services: Services, stop: CancellationToken) {
    let mut announcements = services.store.tap();
    let mut seen = None;
    loop {
        match closed_rooms(&services, seen).await {
            Ok((rooms, position)) => {
                seen = Some(position);
                for (room_id, guest) in rooms {
                    match services.rooms.leave(&guest, &room_id, None).await {
                        Ok(()) => info!(%room_id, "a guest left a room that takes none any more"),
                        Err(error) => warn!(%room_id, %error, "a guest could not leave"),
                    }
                }
            }
            Err(error) => warn!(%error, "rooms with guests could not be looked at"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            announced = announcements.recv() => if let Err(RecvError::Closed) = announced {
                return;
            },
        }
        // What was announced meanwhile is seen with it.
        while announcements.try_recv().is_ok() {}
    }
}

/// The guests in rooms that take none, where that may have changed after a position; and the position up to which that
/// is so.
async fn closed_rooms(
    services: &Services,
    since: Option<Position>,
) -> Result<(Vec<(OwnedRoomId, OwnedUserId)>, Position), luxchat_store::Error> {
    services
        .store
        .read(move |tx| {
            let rooms = match since {
                Some(since) => tx.guest_access_changes(since)?,
                None => tx.rooms_with_guests()?,
            };
            let mut guests = Vec::new();
            for room in rooms {
                if !takes_guests(tx, room)? {
                    let room_id = tx.room_id(room)?;
                    let here = tx.guests_of_room(room)?.into_iter();
                    guests.extend(here.map(|guest| (room_id.clone(), guest)));
                }
            }
            Ok((guests, tx.position()?))
        })
        .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;
    use luxchat_accounts::{Config as AccountsConfig, Registration};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Config,
        testing::{PASSWORD, Server},
    };

    const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

    fn server() -> Server {
        let accounts = AccountsConfig {
            registration: Registration {
                open: true,
                guests: true,
                ..Registration::default()
            },
            ..AccountsConfig::default()
        };
        Server::with(accounts, Config::default())
    }

    async fn guest(server: &Server) -> (String, String) {
        let path = "/_matrix/client/v3/register?kind=guest";
        let made = server.send(Method::POST, path, None, json!({})).await.ok();
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        (text("user_id"), text("access_token"))
    }

    #[test]
    fn guests_are_let_through_by_what_they_ask() {
        let profile = "/_matrix/client/v3/profile/{user_id}/{field}";
        let asked = |method, template: &str, path: &str| is_allowed(method, template, path);
        let sync = "/_matrix/client/v3/sync";
        assert!(asked("GET", sync, sync));
        assert!(!asked("POST", sync, sync));
        let field = |name: &str| format!("/_matrix/client/v3/profile/@a:b/{name}");
        assert!(asked("PUT", profile, &field("displayname")));
        assert!(!asked("PUT", profile, &field("avatar_url")));
    }

    #[tokio::test]
    async fn guests_come_where_they_may_and_do_little() {
        let server = server();
        let alice = server.user("alice").await;
        let (_, token) = guest(&server).await;
        assert_eq!(server.get(WHOAMI, &token).await.ok()["is_guest"], true);
        let create = "/_matrix/client/v3/createRoom";
        let expected = (403, "M_GUEST_ACCESS_FORBIDDEN");
        assert_eq!(
            server.post(create, &token, json!({})).await.error(),
            expected
        );

        let closed = server
            .room(&alice, json!({ "preset": "public_chat" }))
            .await;
        let open =
            json!({ "type": "m.room.guest_access", "content": { "guest_access": "can_join" } });
        let open = json!({ "preset": "public_chat", "initial_state": [open] });
        let open = server.room(&alice, open).await;
        let path = |room: &str, what: &str| format!("/_matrix/client/v3/rooms/{room}/{what}");
        let join = path(&closed, "join");
        assert_eq!(
            server.post(&join, &token, json!({})).await.error(),
            expected
        );
        server
            .post(&path(&open, "join"), &token, json!({}))
            .await
            .ok();
        server.message(&token, &open, "hello").await;

        let (services, stop) = (server.services.clone(), CancellationToken::new());
        tokio::spawn(keep_guests_out(services, stop));
        let state = path(&open, "state/m.room.guest_access");
        let forbidden = json!({ "guest_access": "forbidden" });
        server.put(&state, &alice, forbidden).await.ok();
        let members = path(&open, "joined_members");
        for _ in 0..1_000 {
            let joined = server.get(&members, &alice).await.ok();
            if joined["joined"].as_object().unwrap().len() == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the guest is still there");
    }

    #[tokio::test]
    async fn a_guest_becomes_a_user() {
        let server = server();
        let (user_id, token) = guest(&server).await;
        let register = async |username: &str| {
            let body = json!({
                "username": username,
                "password": PASSWORD,
                "guest_access_token": token,
                "auth": { "type": "m.login.dummy" },
            });
            let path = "/_matrix/client/v3/register";
            server.send(Method::POST, path, None, body).await
        };
        assert_eq!(
            register("somebody").await.error(),
            (400, "M_INVALID_USERNAME")
        );
        let localpart = user_id[1..].split(':').next().unwrap();
        assert_eq!(register(localpart).await.ok()["user_id"], user_id);
        assert_ne!(server.get(WHOAMI, &token).await.ok()["is_guest"], true);
        server.log_in(localpart, json!({})).await.ok();
        assert_eq!(register(localpart).await.error(), (403, "M_FORBIDDEN"));
    }

    #[tokio::test]
    async fn where_guests_are_not_wanted_there_are_none() {
        let server = Server::new();
        let path = "/_matrix/client/v3/register?kind=guest";
        let refused = server.send(Method::POST, path, None, Value::Null).await;
        assert_eq!(refused.error(), (403, "M_GUEST_ACCESS_FORBIDDEN"));
    }
}
