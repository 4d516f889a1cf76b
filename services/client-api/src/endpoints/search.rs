//! <https://spec.matrix.org/v1.19/client-server-api/#server-side-search>

use axum::{Json, Router};
use luxchat_http::{Endpoints, Matrix};
use ruma::api::client::search::search_events::v3::{
    self as search_events, ResultRoomEvents, SearchResult,
};
use serde::Serialize;

use crate::{State, auth::Session, error::Error};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<search_events::Request, _>(search)
}

async fn search(
    state: State,
    session: Session,
    Matrix(request): Matrix<search_events::Request>,
) -> Result<Json<Found>, Error> {
    let response = state.sync.search(session.viewer(), request).await?;
    let mut room_events = response.search_categories.room_events;
    let results = std::mem::take(&mut room_events.results);
    Ok(Json(Found {
        search_categories: Categories {
            room_events: RoomEvents {
                results,
                others: room_events,
            },
        },
    }))
}

/// A response that names the results where there are none, too, as clients expect.
#[derive(Serialize)]
struct Found {
    search_categories: Categories,
}

#[derive(Serialize)]
struct Categories {
    room_events: RoomEvents,
}

#[derive(Serialize)]
struct RoomEvents {
    results: Vec<SearchResult>,
    #[serde(flatten)]
    others: ResultRoomEvents,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Server;

    const SEARCH: &str = "/_matrix/client/v3/search";

    fn query(term: &str, rooms: &[&str], limit: u32) -> Value {
        json!({ "search_categories": { "room_events": {
            "search_term": term, "order_by": "recent",
            "filter": { "rooms": rooms, "limit": limit },
            "event_context": { "before_limit": 1, "after_limit": 1 },
        } } })
    }

    async fn search(server: &Server, token: &str, query: &Value) -> Value {
        let mut found = server.post(SEARCH, token, query.clone()).await.ok();
        found["search_categories"]["room_events"].take()
    }

    fn ids(found: &Value) -> Vec<&str> {
        let ids = found["results"].as_array().unwrap().iter();
        ids.map(|result| result["result"]["event_id"].as_str().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn messages_are_found_page_by_page_with_what_is_around_them() {
        let server = Server::new();
        let token = server.user("alice").await;
        let room = server.room(&token, json!({ "name": "The budget" })).await;
        let mut sent = Vec::new();
        for text in ["budget-one", "nothing", "budget-two", "budget-three"] {
            sent.push(server.message(&token, &room, text).await);
        }
        let mut wanted = query("Budget", &[&room], 2);
        let first = search(&server, &token, &wanted).await;
        assert_eq!(ids(&first), [&*sent[3], &*sent[2]]);
        assert_eq!(first["count"], 4, "the room's name is found as well");
        assert_eq!(first["highlights"], json!(["budget"]));
        let context = &first["results"][1]["context"];
        assert_eq!(context["events_before"][0]["event_id"], *sent[1]);
        assert_eq!(context["events_after"][0]["event_id"], *sent[3]);

        let next = first["next_batch"].as_str().unwrap();
        server.message(&token, &room, "budget-later").await;
        let path = format!("{SEARCH}?next_batch={next}");
        let second = server.post(&path, &token, wanted.clone()).await.ok();
        let second = &second["search_categories"]["room_events"];
        assert_eq!(ids(second)[0], sent[0]);

        let events = &mut wanted["search_categories"]["room_events"];
        events["keys"] = json!(["content.name"]);
        events["groupings"] = json!({ "group_by": [{ "key": "room_id" }] });
        events["include_state"] = json!(true);
        let named = search(&server, &token, &wanted).await;
        assert_eq!(named["count"], 1);
        assert_eq!(
            named["groups"]["room_id"][&room]["results"],
            json!(ids(&named))
        );
        assert!(named["state"][&room].as_array().unwrap().len() > 3);
    }

    #[tokio::test]
    async fn what_a_user_may_not_see_is_neither_found_nor_counted() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let visibility = json!({ "type": "m.room.history_visibility", "state_key": "",
            "content": { "history_visibility": "joined" } });
        let request = json!({ "preset": "public_chat", "initial_state": [visibility] });
        let room = server.room(&alice, request).await;
        server.message(&alice, &room, "secret-before").await;
        let everywhere =
            json!({ "search_categories": { "room_events": { "search_term": "secret" } } });
        assert_eq!(search(&server, &bob, &everywhere).await["count"], 0);

        let path = format!("/_matrix/client/v3/join/{room}");
        server.post(&path, &bob, json!({})).await.ok();
        let after = server.message(&alice, &room, "secret-after").await;
        let found = search(&server, &bob, &everywhere).await;
        assert_eq!((ids(&found), &found["count"]), (vec![&*after], &json!(1)));
        let found = search(&server, &alice, &everywhere).await;
        assert_eq!(found["count"], 2);
    }

    #[tokio::test]
    async fn redacted_and_encrypted_rooms_messages_are_not_found() {
        let server = Server::new();
        let token = server.user("alice").await;
        let room = server.room(&token, json!({})).await;
        let gone = server.message(&token, &room, "secret-gone").await;
        let found = search(&server, &token, &query("gone", &[&room], 10)).await;
        assert_eq!(ids(&found), [&*gone]);
        let path = format!("/_matrix/client/v3/rooms/{room}/redact/{gone}/1");
        server.put(&path, &token, json!({})).await.ok();
        let found = search(&server, &token, &query("gone", &[&room], 10)).await;
        assert_eq!(found["count"], 0);

        let encryption = json!({ "type": "m.room.encryption", "state_key": "",
            "content": { "algorithm": "m.megolm.v1.aes-sha2" } });
        let room = server
            .room(&token, json!({ "initial_state": [encryption] }))
            .await;
        server.message(&token, &room, "secret-plain").await;
        let found = search(&server, &token, &query("plain", &[&room], 10)).await;
        assert_eq!(found["count"], 0);
    }

    #[tokio::test]
    async fn a_token_that_was_never_given_out_is_refused() {
        let server = Server::new();
        let token = server.user("alice").await;
        let path = format!("{SEARCH}?next_batch=nonsense");
        let answer = server.post(&path, &token, query("x", &[], 1)).await;
        assert_eq!(answer.error(), (400, "M_INVALID_PARAM"));
    }
}
