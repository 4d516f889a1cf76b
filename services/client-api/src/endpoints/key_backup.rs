//! <https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups>

use std::collections::BTreeMap;

use axum::Router;
use luxchat_encryption::{BackedUpSession, SessionFilter};
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::{
    OwnedRoomId,
    api::client::backup::{
        KeyBackupData, RoomKeyBackup, add_backup_keys::v3 as add_keys,
        add_backup_keys_for_room::v3 as add_keys_for_room,
        add_backup_keys_for_session::v3 as add_keys_for_session,
        create_backup_version::v3 as create_version, delete_backup_keys::v3 as delete_keys,
        delete_backup_keys_for_room::v3 as delete_keys_for_room,
        delete_backup_keys_for_session::v3 as delete_keys_for_session,
        delete_backup_version::v3 as delete_version, get_backup_info::v3 as get_version,
        get_backup_keys::v3 as get_keys, get_backup_keys_for_room::v3 as get_keys_for_room,
        get_backup_keys_for_session::v3 as get_keys_for_session,
        get_latest_backup_info::v3 as get_latest_version,
        update_backup_version::v3 as update_version,
    },
    serde::Raw,
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<create_version::Request, _>(create)
        .endpoint::<get_latest_version::Request, _>(latest)
        .endpoint::<get_version::Request, _>(version)
        .endpoint::<update_version::Request, _>(update)
        .endpoint::<delete_version::Request, _>(delete)
        .endpoint::<add_keys::Request, _>(put_all)
        .endpoint::<add_keys_for_room::Request, _>(put_room)
        .endpoint::<add_keys_for_session::Request, _>(put_session)
        .endpoint::<get_keys::Request, _>(get_all)
        .endpoint::<get_keys_for_room::Request, _>(get_room)
        .endpoint::<get_keys_for_session::Request, _>(get_session)
        .endpoint::<delete_keys::Request, _>(delete_all)
        .endpoint::<delete_keys_for_room::Request, _>(delete_room)
        .endpoint::<delete_keys_for_session::Request, _>(delete_session)
}

async fn create(
    state: State,
    session: Session,
    Matrix(request): Matrix<create_version::Request>,
) -> Answer<create_version::Response> {
    let version = state
        .encryption
        .create_backup(&session.user_id, &request.algorithm)
        .await?;
    Ok(Reply(create_version::Response::new(version)))
}

async fn latest(
    state: State,
    session: Session,
    Matrix(_): Matrix<get_latest_version::Request>,
) -> Answer<get_latest_version::Response> {
    let backup = state.encryption.backup(&session.user_id, None).await?;
    Ok(Reply(get_latest_version::Response::new(
        backup.algorithm,
        backup.state.count,
        backup.state.etag,
        backup.version,
    )))
}

async fn version(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_version::Request>,
) -> Answer<get_version::Response> {
    let backup = state
        .encryption
        .backup(&session.user_id, Some(request.version))
        .await?;
    Ok(Reply(get_version::Response::new(
        backup.algorithm,
        backup.state.count,
        backup.state.etag,
        backup.version,
    )))
}

async fn update(
    state: State,
    session: Session,
    Matrix(request): Matrix<update_version::Request>,
) -> Answer<update_version::Response> {
    state
        .encryption
        .update_backup(&session.user_id, request.version, &request.algorithm)
        .await?;
    Ok(Reply(update_version::Response::new()))
}

async fn delete(
    state: State,
    session: Session,
    Matrix(request): Matrix<delete_version::Request>,
) -> Answer<delete_version::Response> {
    state
        .encryption
        .delete_backup(&session.user_id, &request.version)
        .await?;
    Ok(Reply(delete_version::Response::new()))
}

async fn put_all(
    state: State,
    session: Session,
    Matrix(request): Matrix<add_keys::Request>,
) -> Answer<add_keys::Response> {
    let keys = request
        .rooms
        .into_iter()
        .flat_map(|(room, backup)| in_room(room, backup.sessions))
        .collect();
    let now = state
        .encryption
        .put_backup_keys(&session.user_id, request.version, keys)
        .await?;
    Ok(Reply(add_keys::Response::new(now.etag, now.count)))
}

async fn put_room(
    state: State,
    session: Session,
    Matrix(request): Matrix<add_keys_for_room::Request>,
) -> Answer<add_keys_for_room::Response> {
    let keys = in_room(request.room_id, request.sessions).collect();
    let now = state
        .encryption
        .put_backup_keys(&session.user_id, request.version, keys)
        .await?;
    Ok(Reply(add_keys_for_room::Response::new(now.etag, now.count)))
}

async fn put_session(
    state: State,
    session: Session,
    Matrix(request): Matrix<add_keys_for_session::Request>,
) -> Answer<add_keys_for_session::Response> {
    let key = BackedUpSession {
        room_id: request.room_id,
        session_id: request.session_id,
        data: request.session_data,
    };
    let now = state
        .encryption
        .put_backup_keys(&session.user_id, request.version, vec![key])
        .await?;
    Ok(Reply(add_keys_for_session::Response::new(
        now.etag, now.count,
    )))
}

async fn get_all(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_keys::Request>,
) -> Answer<get_keys::Response> {
    let keys = state
        .encryption
        .backup_keys(&session.user_id, request.version, SessionFilter::All)
        .await?;
    let mut rooms: BTreeMap<_, RoomKeyBackup> = BTreeMap::new();
    for key in keys {
        let room = rooms
            .entry(key.room_id)
            .or_insert_with(|| RoomKeyBackup::new(BTreeMap::new()));
        room.sessions.insert(key.session_id, key.data);
    }
    Ok(Reply(get_keys::Response::new(rooms)))
}

async fn get_room(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_keys_for_room::Request>,
) -> Answer<get_keys_for_room::Response> {
    let filter = SessionFilter::Room(request.room_id);
    let keys = state
        .encryption
        .backup_keys(&session.user_id, request.version, filter)
        .await?;
    let sessions = keys.into_iter().map(|key| (key.session_id, key.data));
    Ok(Reply(get_keys_for_room::Response::new(sessions.collect())))
}

async fn get_session(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_keys_for_session::Request>,
) -> Answer<get_keys_for_session::Response> {
    let filter = SessionFilter::Session(request.room_id, request.session_id);
    let keys = state
        .encryption
        .backup_keys(&session.user_id, request.version, filter)
        .await?;
    let key = keys
        .into_iter()
        .next()
        .ok_or(luxchat_encryption::Error::NotFound("key"))?;
    Ok(Reply(get_keys_for_session::Response::new(key.data)))
}

async fn delete_all(
    state: State,
    session: Session,
    Matrix(request): Matrix<delete_keys::Request>,
) -> Answer<delete_keys::Response> {
    let now = state
        .encryption
        .delete_backup_keys(&session.user_id, request.version, SessionFilter::All)
        .await?;
    Ok(Reply(delete_keys::Response::new(now.etag, now.count)))
}

async fn delete_room(
    state: State,
    session: Session,
    Matrix(request): Matrix<delete_keys_for_room::Request>,
) -> Answer<delete_keys_for_room::Response> {
    let filter = SessionFilter::Room(request.room_id);
    let now = state
        .encryption
        .delete_backup_keys(&session.user_id, request.version, filter)
        .await?;
    Ok(Reply(delete_keys_for_room::Response::new(
        now.etag, now.count,
    )))
}

async fn delete_session(
    state: State,
    session: Session,
    Matrix(request): Matrix<delete_keys_for_session::Request>,
) -> Answer<delete_keys_for_session::Response> {
    let filter = SessionFilter::Session(request.room_id, request.session_id);
    let now = state
        .encryption
        .delete_backup_keys(&session.user_id, request.version, filter)
        .await?;
    Ok(Reply(delete_keys_for_session::Response::new(
        now.etag, now.count,
    )))
}

fn in_room(
    room_id: OwnedRoomId,
    sessions: BTreeMap<String, Raw<KeyBackupData>>,
) -> impl Iterator<Item = BackedUpSession> {
    sessions
        .into_iter()
        .map(move |(session_id, data)| BackedUpSession {
            room_id: room_id.clone(),
            session_id,
            data,
        })
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use crate::testing::Server;

    const VERSION: &str = "/_matrix/client/v3/room_keys/version";
    const KEYS: &str = "/_matrix/client/v3/room_keys/keys";

    fn algorithm(public_key: &str) -> Value {
        json!({
            "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
            "auth_data": { "public_key": public_key, "signatures": {} },
        })
    }

    fn key(first_message_index: u32) -> Value {
        json!({
            "first_message_index": first_message_index,
            "forwarded_count": 0,
            "is_verified": true,
            "session_data": { "ephemeral": "ZQ", "ciphertext": "Yw", "mac": "bQ" },
        })
    }

    #[tokio::test]
    async fn a_backup_is_made_changed_and_deleted() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let none = server.get(VERSION, &alice).await;
        assert_eq!(none.error(), (404, "M_NOT_FOUND"));
        let made = server.post(VERSION, &alice, algorithm("b25l")).await.ok();
        assert_eq!(made, json!({ "version": "1" }));
        let one = format!("{VERSION}/1");
        server.put(&one, &alice, algorithm("dHdv")).await.ok();
        let told = server.get(VERSION, &alice).await.ok();
        assert_eq!(told["auth_data"], algorithm("dHdv")["auth_data"]);
        assert_eq!((&told["version"], &told["count"]), (&json!("1"), &json!(0)));
        assert_eq!(server.get(&one, &alice).await.ok(), told);
        for _ in 0..2 {
            let deleted = server.send(Method::DELETE, &one, Some(&alice), Value::Null);
            deleted.await.ok();
        }
        let gone = server.get(&one, &alice).await;
        assert_eq!(gone.error(), (404, "M_NOT_FOUND"));
    }

    #[tokio::test]
    async fn keys_are_put_read_and_deleted_at_every_depth() {
        let server = Server::new();
        let alice = server.user("alice").await;
        server.post(VERSION, &alice, algorithm("b25l")).await.ok();
        let all = json!({ "rooms": {
            "!one:example.org": { "sessions": { "a": key(5), "b": key(5) } },
            "!two:example.org": { "sessions": { "a": key(5) } },
        } });
        let paths = ["", "/!one:example.org", "/!one:example.org/a"]
            .map(|part| format!("{KEYS}{part}?version=1"));
        let [everything, room, session] = &paths;
        let stored = server.put(everything, &alice, all.clone()).await.ok();
        assert_eq!(stored["count"], 3);
        assert_eq!(server.get(everything, &alice).await.ok(), all);
        let of_room = &all["rooms"]["!one:example.org"];
        assert_eq!(server.get(room, &alice).await.ok(), *of_room);
        assert_eq!(server.get(session, &alice).await.ok(), key(5));

        let sessions = json!({ "sessions": { "c": key(1) } });
        let more = server.put(room, &alice, sessions).await.ok();
        assert_eq!(more["count"], 4);
        let better = server.put(session, &alice, key(3)).await.ok();
        assert_eq!(better["count"], 4);
        assert_ne!(better["etag"], more["etag"]);
        assert_eq!(server.get(session, &alice).await.ok(), key(3));

        for (path, left) in [(session, 3), (room, 1), (everything, 0)] {
            let deleted = server.send(Method::DELETE, path, Some(&alice), Value::Null);
            assert_eq!(deleted.await.ok()["count"], left);
        }
        let gone = server.get(session, &alice).await;
        assert_eq!(gone.error(), (404, "M_NOT_FOUND"));
    }

    #[tokio::test]
    async fn a_wrong_version_is_told_the_current_one() {
        let server = Server::new();
        let alice = server.user("alice").await;
        for key in ["b25l", "dHdv"] {
            server.post(VERSION, &alice, algorithm(key)).await.ok();
        }
        let path = format!("{KEYS}/!one:example.org/a?version=1");
        let refused = server.put(&path, &alice, key(0)).await;
        assert_eq!(refused.error(), (403, "M_WRONG_ROOM_KEYS_VERSION"));
        assert_eq!(refused.body["current_version"], "2");
        let malformed = server
            .put(
                &path.replace("=1", "=2"),
                &alice,
                json!({ "is_verified": 1 }),
            )
            .await;
        assert_eq!(malformed.error(), (400, "M_BAD_JSON"));
    }
}
