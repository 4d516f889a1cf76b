//! <https://spec.matrix.org/v1.19/client-server-api/#room-aliases>, and the list of published rooms.

use axum::{Json, Router};
use http::StatusCode;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use luxchat_rooms::Error as RoomsError;
use luxchat_sync::{PublicRoomsRequest, public_rooms};
use ruma::{
    OwnedServerName, UInt,
    api::{
        client::{
            alias::{
                create_alias::v3 as create_alias, delete_alias::v3 as delete_alias,
                get_alias::v3 as get_alias,
            },
            directory::{
                get_public_rooms::v3 as get_public_rooms,
                get_public_rooms_filtered::v3 as get_public_rooms_filtered,
                get_room_visibility::v3 as get_room_visibility,
                set_room_visibility::v3 as set_room_visibility,
            },
            room::{Visibility, aliases::v3 as room_aliases, get_summary::v1 as get_summary},
        },
        error::ErrorKind,
        federation::directory::get_public_rooms_filtered::v1 as remote_public_rooms,
    },
    directory::PublicRoomsChunk,
    room::JoinRuleKind,
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
    service::{check_alias, resolve_alias},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<get_alias::Request, _>(resolve)
        .endpoint::<create_alias::Request, _>(set)
        .endpoint::<delete_alias::Request, _>(delete)
        .endpoint::<room_aliases::Request, _>(aliases)
        .endpoint::<get_room_visibility::Request, _>(visibility)
        .endpoint::<set_room_visibility::Request, _>(set_visibility)
        .endpoint::<get_public_rooms::Request, _>(list)
        .endpoint::<get_public_rooms_filtered::Request, _>(search)
        .endpoint::<get_summary::Request, _>(summary)
}

async fn resolve(
    state: State,
    session: Option<Session>,
    Matrix(request): Matrix<get_alias::Request>,
) -> Answer<get_alias::Response> {
    // Whoever is nobody here cannot make this server ask others.
    let is_own = request.room_alias.server_name() == state.store.server_name();
    if !is_own && session.is_none() {
        return Err(ApiError::missing_token().into());
    }
    let target = resolve_alias(&state, &request.room_alias).await?;
    Ok(Reply(get_alias::Response::new(
        target.room_id,
        target.servers,
    )))
}

async fn set(
    state: State,
    session: Session,
    Matrix(request): Matrix<create_alias::Request>,
) -> Answer<create_alias::Response> {
    session.check_not_suspended()?;
    let (alias, room_id) = (&request.room_alias, &request.room_id);
    check_alias(&state, alias, &session)?;
    match state
        .rooms
        .set_alias(&session.user_id, alias, room_id)
        .await
    {
        Ok(()) => Ok(Reply(create_alias::Response::new())),
        // Only for a room in the making is this an error of its own.
        Err(error @ RoomsError::AliasInUse(_)) => {
            let message = error.to_string();
            Err(ApiError::new(StatusCode::CONFLICT, ErrorKind::Unknown, message).into())
        }
        Err(error) => Err(error.into()),
    }
}

async fn delete(
    state: State,
    session: Session,
    Matrix(request): Matrix<delete_alias::Request>,
) -> Answer<delete_alias::Response> {
    check_alias(&state, &request.room_alias, &session)?;
    state
        .rooms
        .delete_alias(&session.user_id, &request.room_alias, session.is_admin)
        .await?;
    Ok(Reply(delete_alias::Response::new()))
}

async fn aliases(
    state: State,
    session: Session,
    Matrix(request): Matrix<room_aliases::Request>,
) -> Answer<room_aliases::Response> {
    let aliases = state
        .sync
        .aliases(session.viewer(), request.room_id)
        .await?;
    Ok(Reply(room_aliases::Response::new(aliases)))
}

async fn visibility(
    state: State,
    _: Option<Session>,
    Matrix(request): Matrix<get_room_visibility::Request>,
) -> Answer<get_room_visibility::Response> {
    let published = state
        .store
        .read(move |tx| match tx.room_by_id(&request.room_id)? {
            Some(room) => tx.is_published(room.nid).map(Some),
            None => Ok(None),
        })
        .await?;
    let visibility = match published {
        Some(true) => Visibility::Public,
        Some(false) => Visibility::Private,
        None => return Err(ApiError::not_found("room not found").into()),
    };
    Ok(Reply(get_room_visibility::Response::new(visibility)))
}

async fn set_visibility(
    state: State,
    session: Session,
    Matrix(request): Matrix<set_room_visibility::Request>,
) -> Answer<set_room_visibility::Response> {
    session.check_not_suspended()?;
    let published = match request.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        other => {
            return Err(ApiError::invalid_param(format!("Unknown visibility {other}")).into());
        }
    };
    let (user_id, is_admin) = (&session.user_id, session.is_admin);
    state
        .rooms
        .publish(user_id, &request.room_id, published, is_admin)
        .await?;
    Ok(Reply(set_room_visibility::Response::new()))
}

async fn list(
    state: State,
    _: Session,
    Matrix(request): Matrix<get_public_rooms::Request>,
) -> Result<Json<Page>, Error> {
    let query = PublicRoomsRequest {
        limit: request.limit,
        since: request.since,
        ..PublicRoomsRequest::default()
    };
    page(&state, request.server, query).await.map(Json)
}

async fn search(
    state: State,
    _: Session,
    Matrix(request): Matrix<get_public_rooms_filtered::Request>,
) -> Result<Json<Page>, Error> {
    let query = PublicRoomsRequest {
        limit: request.limit,
        since: request.since,
        filter: request.filter,
        network: request.room_network,
    };
    page(&state, request.server, query).await.map(Json)
}

/// A page of a list of rooms. Unlike ruma's types, it says of each room how to come in.
#[derive(Debug, Serialize)]
struct Page {
    chunk: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_room_count_estimate: Option<UInt>,
}

/// A page of this server's list of rooms, or of another's.
async fn page(
    state: &State,
    server: Option<OwnedServerName>,
    query: PublicRoomsRequest,
) -> Result<Page, Error> {
    if let Some(server) = server
        && server != state.store.server_name()
    {
        let mut request = remote_public_rooms::Request::new();
        request.limit = query.limit;
        request.since = query.since;
        request.filter = query.filter;
        request.room_network = query.network;
        let found = state.federation.request(&server, request).await?;
        return Ok(Page {
            chunk: listed(&found.chunk)?,
            next_batch: found.next_batch,
            prev_batch: found.prev_batch,
            total_room_count_estimate: found.total_room_count_estimate,
        });
    }
    let found = public_rooms(&state.store, query).await?;
    Ok(Page {
        chunk: listed(&found.chunk)?,
        next_batch: found.next_batch,
        prev_batch: found.prev_batch,
        total_room_count_estimate: Some(found.total),
    })
}

fn listed(rooms: &[PublicRoomsChunk]) -> Result<Vec<Value>, ApiError> {
    let mut listed = Vec::with_capacity(rooms.len());
    for room in rooms {
        let mut room = serde_json::to_value(room).map_err(ApiError::internal)?;
        if let Some(room) = room.as_object_mut() {
            let public = JoinRuleKind::Public.as_str();
            room.entry("join_rule").or_insert_with(|| public.into());
        }
        listed.push(room);
    }
    Ok(listed)
}

async fn summary(
    state: State,
    session: Option<Session>,
    Matrix(request): Matrix<get_summary::Request>,
) -> Answer<get_summary::Response> {
    let viewer = session.as_ref().map(Session::viewer);
    let room = request.room_id_or_alias;
    let (summary, membership) = state.sync.room_summary(viewer, room).await?;
    let mut response = get_summary::Response::new(summary);
    response.membership = membership;
    Ok(Reply(response))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use crate::testing::Server;

    const ALIAS: &str = "/_matrix/client/v3/directory/room/%23weather:example.org";

    #[tokio::test]
    async fn aliases_lead_to_rooms_until_they_are_deleted() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let room = server.room(&alice, json!({})).await;
        let target = json!({ "room_id": room });
        server.put(ALIAS, &alice, target.clone()).await.ok();
        let taken = server.put(ALIAS, &alice, target).await;
        assert_eq!(taken.status, 409);
        let found = server.send(Method::GET, ALIAS, None, Value::Null).await;
        assert_eq!(found.ok()["room_id"], room);
        let path = format!("/_matrix/client/v3/rooms/{room}/aliases");
        let aliases = server.get(&path, &alice).await.ok();
        assert_eq!(aliases["aliases"], json!(["#weather:example.org"]));

        let delete = |token| server.send(Method::DELETE, ALIAS, Some(token), Value::Null);
        assert_eq!(delete(&bob).await.error(), (403, "M_FORBIDDEN"));
        delete(&alice).await.ok();
        let gone = server.get(ALIAS, &alice).await;
        assert_eq!(gone.error(), (404, "M_NOT_FOUND"));
    }

    #[tokio::test]
    async fn nobody_makes_this_server_ask_others_without_a_token() {
        let server = Server::new();
        let alias = "/_matrix/client/v3/directory/room/%23weather:elsewhere.org";
        for path in [
            alias,
            "/_matrix/client/v3/publicRooms?server=elsewhere.org",
            "/_matrix/client/v3/profile/@alice:elsewhere.org",
            "/_matrix/client/v3/profile/@alice:elsewhere.org/displayname",
        ] {
            let refused = server.send(Method::GET, path, None, Value::Null).await;
            assert_eq!(refused.error(), (401, "M_MISSING_TOKEN"));
        }
    }

    #[tokio::test]
    async fn listed_rooms_are_found_by_what_they_say() {
        let server = Server::new();
        let alice = server.user("alice").await;
        for (name, kind) in [("Weather", Value::Null), ("Sports", json!("m.space"))] {
            let mut request = json!({ "name": name, "visibility": "public" });
            if !kind.is_null() {
                request["creation_content"] = json!({ "type": kind });
            }
            server.room(&alice, request).await;
        }
        let hidden = server.room(&alice, json!({ "name": "Hidden" })).await;
        let search = async |body: Value| {
            let path = "/_matrix/client/v3/publicRooms";
            let found = server.post(path, &alice, body).await.ok();
            let chunk = found["chunk"].as_array().unwrap().iter();
            chunk
                .map(|room| room["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(search(json!({})).await.len(), 2);
        let term = json!({ "filter": { "generic_search_term": "weath" } });
        assert_eq!(search(term).await, ["Weather"]);
        let spaces = json!({ "filter": { "room_types": ["m.space"] } });
        assert_eq!(search(spaces).await, ["Sports"]);

        let path = "/_matrix/client/v3/publicRooms?limit=1";
        let first = server.get(path, &alice).await.ok();
        assert_eq!(first["total_room_count_estimate"], 2);
        assert_eq!(first["chunk"][0]["join_rule"], "public");
        let next = first["next_batch"].as_str().unwrap();
        let second = server.get(&format!("{path}&since={next}"), &alice).await;
        let second = second.ok();
        assert_ne!(first["chunk"][0]["room_id"], second["chunk"][0]["room_id"]);
        assert!(second.get("next_batch").is_none());

        let path = format!("/_matrix/client/v3/directory/list/room/{hidden}");
        let get = || server.get(&path, &alice);
        assert_eq!(get().await.ok()["visibility"], "private");
        let public = json!({ "visibility": "public" });
        server.put(&path, &alice, public).await.ok();
        assert_eq!(get().await.ok()["visibility"], "public");
    }

    #[tokio::test]
    async fn a_summary_is_for_those_who_could_come() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let open = json!({ "name": "Open", "preset": "public_chat" });
        let open = server.room(&alice, open).await;
        let closed = server.room(&alice, json!({ "name": "Closed" })).await;
        let summary = |room: &str| format!("/_matrix/client/v1/room_summary/{room}");
        let found = server.get(&summary(&open), &bob).await.ok();
        assert_eq!(found["name"], "Open");
        assert_eq!(found["num_joined_members"], 1);
        let refused = server.get(&summary(&closed), &bob).await;
        assert_eq!(refused.error(), (404, "M_NOT_FOUND"));
        let own = server.get(&summary(&closed), &alice).await.ok();
        assert_eq!(own["membership"], "join");
    }
}
