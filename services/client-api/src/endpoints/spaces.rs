//! <https://spec.matrix.org/v1.19/client-server-api/#spaces>

use std::{sync::Arc, time::Duration};

use axum::Router;
use futures_util::{StreamExt, stream};
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_sync::{Hierarchy, RemoteRooms};
use ruma::{
    OwnedRoomId, OwnedServerName,
    api::{
        client::space::get_hierarchy::v1 as get_hierarchy,
        federation::space::{SpaceHierarchyParentSummary, get_hierarchy::v1 as ask_hierarchy},
    },
    room::RoomType,
};
use tokio::time::Instant;
use tracing::debug;

use crate::{State, auth::Session, error::Answer};

/// Rooms that peers are asked for to answer one request, at most, and at a time.
const ASKED: usize = 200;
const PARALLEL: usize = 8;

/// Servers that are asked for one room, and how long one of them may take, and all of them together.
const SERVERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_IN_ALL: Duration = Duration::from_secs(30);

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<get_hierarchy::Request, _>(hierarchy)
}

async fn hierarchy(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_hierarchy::Request>,
) -> Answer<get_hierarchy::Response> {
    let mut remote = Arc::new(RemoteRooms::new());
    let deadline = Instant::now() + PATIENCE_IN_ALL;
    loop {
        let (viewer, request) = (session.viewer(), request.clone());
        let found = state.sync.hierarchy(viewer, request, Arc::clone(&remote));
        match found.await? {
            Hierarchy::Page(page) => return Ok(Reply(page)),
            Hierarchy::Missing(missing) => {
                ask(&state, missing, Arc::make_mut(&mut remote), deadline).await;
            }
        }
    }
}

/// Asks peers for rooms. What nobody answers for, or is one too many, counts as unknown to all.
async fn ask(
    state: &State,
    missing: Vec<(OwnedRoomId, Vec<OwnedServerName>)>,
    remote: &mut RemoteRooms,
    deadline: Instant,
) {
    let left = ASKED.saturating_sub(remote.len());
    let beyond = missing.iter().skip(left);
    remote.extend(beyond.map(|(room_id, _)| (room_id.clone(), None)));
    let answers: Vec<_> = stream::iter(missing.into_iter().take(left))
        .map(|(room_id, via)| async move {
            let answer = ask_for(state, &room_id, via);
            let answer = tokio::time::timeout_at(deadline, answer).await.ok();
            (room_id, answer.flatten())
        })
        .buffer_unordered(PARALLEL)
        .collect()
        .await;
    for (room_id, answer) in answers {
        let Some(answer) = answer else {
            remote.insert(room_id, None);
            continue;
        };
        // What is no space needs no question of its own.
        for child in answer.children.into_iter().take(ASKED) {
            if child.room_type != Some(RoomType::Space) && remote.len() < 2 * ASKED {
                let child_id = child.room_id.clone();
                let child = SpaceHierarchyParentSummary::new(child, Vec::new());
                remote.entry(child_id).or_insert(Some(child));
            }
        }
        for child in answer.inaccessible_children.into_iter().take(ASKED) {
            remote.entry(child).or_insert(None);
        }
        remote.insert(room_id, Some(answer.room));
    }
}

async fn ask_for(
    state: &State,
    room_id: &OwnedRoomId,
    via: Vec<OwnedServerName>,
) -> Option<ask_hierarchy::Response> {
    let own = state.store.server_name();
    let servers = via.into_iter().filter(|server| server != own);
    for server in servers.take(SERVERS) {
        let request = ask_hierarchy::Request::new(room_id.clone());
        let answer = state.federation.request(&server, request);
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) if answer.room.summary.room_id == *room_id => return Some(answer),
            Ok(Ok(_)) => debug!(%server, %room_id, "a server told of another room"),
            Ok(Err(error)) => debug!(%server, %room_id, %error, "a server tells nothing of a room"),
            Err(_) => debug!(%server, %room_id, "a server takes too long to tell of a room"),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Server;

    #[tokio::test]
    async fn a_space_leads_to_the_rooms_in_it() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let space = async |name: &str| {
            let request = json!({
                "name": name,
                "preset": "public_chat",
                "creation_content": { "type": "m.space" },
            });
            server.room(&alice, request).await
        };
        let top = space("Top").await;
        let inner = space("Inner").await;
        let open = json!({ "name": "Open", "preset": "public_chat" });
        let open = server.room(&alice, open).await;
        let closed = server.room(&alice, json!({ "name": "Closed" })).await;
        for (parent, child, order) in [
            (&top, &inner, "b"),
            (&top, &closed, "a"),
            (&inner, &open, "a"),
            // Round and round is not for ever.
            (&inner, &top, "b"),
        ] {
            let path = format!("/_matrix/client/v3/rooms/{parent}/state/m.space.child/{child}");
            let content = json!({ "via": ["example.org"], "order": order });
            server.put(&path, &alice, content).await.ok();
        }
        let path = format!("/_matrix/client/v1/rooms/{top}/hierarchy");
        let names = async |token: &str, query: &str| {
            let found = server.get(&format!("{path}?{query}"), token).await.ok();
            let rooms = found["rooms"].as_array().unwrap().iter();
            let names = rooms.map(|room| room["name"].as_str().unwrap().to_owned());
            (names.collect::<Vec<_>>(), found["next_batch"].clone())
        };
        let all = ["Top", "Closed", "Inner", "Open"];
        assert_eq!(names(&alice, "").await.0, all);
        assert_eq!(names(&bob, "").await.0, ["Top", "Inner", "Open"]);
        assert_eq!(names(&alice, "max_depth=1").await.0, all[..3]);
        let (first, next) = names(&alice, "limit=3").await;
        assert_eq!(first, all[..3]);
        let query = format!("limit=3&from={}", next.as_str().unwrap());
        assert_eq!(
            names(&alice, &query).await,
            (vec!["Open".to_owned()], Value::Null)
        );
        let path = format!("/_matrix/client/v1/rooms/{closed}/hierarchy");
        let refused = server.get(&path, &bob).await;
        assert_eq!(refused.error(), (403, "M_FORBIDDEN"));
    }
}
