//! Sliding sync, in the dialect that clients speak today and in the one that was merged: one engine behind both.
//! [MSC4186](https://github.com/matrix-org/matrix-spec-proposals/pull/4186)

mod merged_request;
mod response;

use std::time::Duration;

use axum::{Router, routing::post};
use luxchat_http::{ApiError, Endpoints, JsonBody, MatrixWithBody};
use luxchat_sync::SlidingRequest;
use ruma::{UInt, api::client::sync::sync_events::v5, presence::PresenceState};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::{
    merged_request::Merged,
    response::{MergedReply, SimplifiedReply},
};
use super::sync::acknowledge_to_device;
use crate::{State, auth::Session, error::Error};

const MERGED: &str = "/_matrix/client/v4/sync";

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<v5::Request, _>(simplified)
        .route(MERGED, post(merged))
}

/// Fields that the merged dialect has in the body, and some clients of the other one as well.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Common {
    conn_id: Option<String>,
    pos: Option<String>,
    timeout: Option<UInt>,
    set_presence: Option<PresenceState>,
    extensions: Extensions,
}

/// The extensions that ruma's type does not know.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Extensions {
    #[serde(rename = "io.element.msc4308.thread_subscriptions")]
    thread_subscriptions: ThreadSubscriptions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ThreadSubscriptions {
    enabled: bool,
    limit: Option<UInt>,
}

impl Common {
    fn parse(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let common = Self::deserialize(body);
        let common = common.map_err(|error| ApiError::bad_json(error.to_string()))?;
        match &common.set_presence {
            None
            | Some(PresenceState::Online | PresenceState::Unavailable | PresenceState::Offline) => {
                Ok(common)
            }
            Some(_) => Err(ApiError::invalid_param("There is no such presence")),
        }
    }

    /// Puts what the body says where the engine looks for it, unless the query says it.
    fn add_to(self, request: &mut SlidingRequest) {
        let common = &mut request.common;
        common.conn_id = common.conn_id.take().or(self.conn_id);
        common.pos = common.pos.take().or(self.pos);
        let timeout = self.timeout.map(|ms| Duration::from_millis(ms.into()));
        common.timeout = common.timeout.or(timeout);
        if let Some(presence) = self.set_presence {
            common.set_presence = presence;
        }
        let asked = self.extensions.thread_subscriptions;
        let limit = asked.limit;
        let limit = limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
        request.thread_subscriptions = asked.enabled.then_some(limit);
    }
}

async fn simplified(
    state: State,
    session: Session,
    MatrixWithBody { request, body }: MatrixWithBody<v5::Request>,
) -> Result<SimplifiedReply, Error> {
    let mut request = SlidingRequest::from(request);
    Common::parse(&body)?.add_to(&mut request);
    answer(&state, &session, request).await.map(SimplifiedReply)
}

async fn merged(
    state: State,
    session: Session,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<MergedReply, Error> {
    let parsed = Merged::deserialize(&body);
    let parsed = parsed.map_err(|error| ApiError::bad_json(error.to_string()))?;
    let mut request = parsed.into_request()?;
    Common::parse(&body)?.add_to(&mut request);
    answer(&state, &session, request).await.map(MergedReply)
}

async fn answer(
    state: &State,
    session: &Session,
    request: SlidingRequest,
) -> Result<luxchat_sync::SlidingResponse, Error> {
    let to_device = &request.extensions.to_device;
    if let (Some(true), Some(since)) = (to_device.enabled, &to_device.since) {
        acknowledge_to_device(state, session, since.parse()?).await?;
    }
    let viewer = session.viewer();
    let set_presence = request.set_presence.clone();
    let _there = state.presence.sync(&viewer, set_presence).await?;
    Ok(state.sync.sync_sliding(viewer, request).await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    const SLIDING: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";

    #[tokio::test]
    async fn the_merged_dialect_says_what_rooms_are_and_excludes_state() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({ "name": "Weather" })).await;
        let other = server.room(&alice, json!({ "name": "News" })).await;
        let tag = format!("/_matrix/client/v3/user/@alice:example.org/rooms/{room}/tags/u.mine");
        server.put(&tag, &alice, json!({})).await.ok();
        let mut body = json!({
            "conn_id": "main",
            "lists": { "mine": {
                "timeline_limit": 1,
                "required_state": {
                    "include": [{}], "exclude": [{ "type": "m.room.create" }], "lazy_members": true,
                },
                "filters": { "tags": ["u.mine"] },
            } },
            "room_subscriptions": { &other: {
                "timeline_limit": 1, "required_state": { "include": [{ "type": "m.room.create" }] },
            } },
        });
        let first = server.post(super::MERGED, &alice, body.clone()).await.ok();
        assert_eq!(first["lists"]["mine"]["count"], 1);
        let told = &first["rooms"][&room];
        assert_eq!(told["membership"], "join");
        assert_eq!(told["lists"], json!(["mine"]));
        assert_eq!(told["timeline_events"].as_array().unwrap().len(), 1);
        let types = |room: &serde_json::Value| -> Vec<String> {
            let state = room["required_state"].as_array().unwrap().iter();
            state
                .map(|event| event["type"].as_str().unwrap().to_owned())
                .collect()
        };
        let state = types(told);
        assert!(state.contains(&"m.room.name".to_owned()));
        assert!(!state.contains(&"m.room.create".to_owned()));
        assert_eq!(types(&first["rooms"][&other]), ["m.room.create"]);
        assert!(first["rooms"][&other].get("lists").is_none());

        server.message(&alice, &room, "hello").await;
        body["pos"] = first["pos"].clone();
        let second = server.post(super::MERGED, &alice, body).await.ok();
        let event = &second["rooms"][&room]["timeline_events"][0];
        assert_eq!(event["content"]["body"], "hello");
        let broken = json!({ "lists": { "a": { "timeline_limit": 1 } } });
        let refused = server.post(super::MERGED, &alice, broken).await;
        assert_eq!(refused.error(), (400, "M_BAD_JSON"));
        let absent = json!({ "set_presence": "asleep" });
        let refused = server.post(super::MERGED, &alice, absent).await;
        assert_eq!(refused.error(), (400, "M_INVALID_PARAM"));
    }

    #[tokio::test]
    async fn threads_subscribed_to_come_beside_the_rooms() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({})).await;
        let root = server.message(&alice, &room, "root").await;
        let body = json!({ "extensions": {
            "io.element.msc4308.thread_subscriptions": { "enabled": true, "limit": 2 },
        } });
        let first = server.post(SLIDING, &alice, body.clone()).await.ok();
        let path = "/_matrix/client/unstable/io.element.msc4306/rooms";
        let path = format!("{path}/{room}/thread/{root}/subscription");
        server.put(&path, &alice, json!({})).await.ok();
        let next = format!("{SLIDING}?pos={}", first["pos"].as_str().unwrap());
        let second = server.post(&next, &alice, body).await.ok();
        let told = &second["extensions"]["io.element.msc4308.thread_subscriptions"];
        assert_eq!(told["subscribed"][&room][&root]["automatic"], false);
    }

    #[tokio::test]
    async fn a_sliding_sync_goes_on_from_its_position_or_starts_over() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({ "name": "Weather" })).await;
        let body = json!({
            "conn_id": "rooms",
            "lists": { "all": {
                "ranges": [[0, 19]],
                "timeline_limit": 1,
                "required_state": [["m.room.create", ""], ["m.room.member", "$LAZY"]],
                "filters": { "not_room_types": ["m.space"] },
            } },
            "extensions": { "e2ee": { "enabled": true }, "account_data": { "enabled": true } },
        });
        let first = server.post(SLIDING, &alice, body.clone()).await.ok();
        assert_eq!(first["lists"]["all"]["count"], 1);
        assert_eq!(first["rooms"][&room]["name"], "Weather");
        assert_eq!(first["rooms"][&room]["initial"], true);
        server.message(&alice, &room, "hello").await;
        let next = format!("{SLIDING}?timeout=0&pos={}", first["pos"].as_str().unwrap());
        let second = server.post(&next, &alice, body.clone()).await.ok();
        let told = &second["rooms"][&room];
        assert_eq!(told["timeline"][0]["content"]["body"], "hello");
        assert_eq!(told["num_live"], 1);
        let unknown = format!("{SLIDING}?pos=0.0.0");
        let refused = server.post(&unknown, &alice, body).await;
        assert_eq!(refused.error(), (400, "M_UNKNOWN_POS"));
    }

    #[tokio::test]
    async fn a_sliding_sync_takes_messages_away_that_the_device_has() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let send = "/_matrix/client/v3/sendToDevice/org.example/txn";
        let messages = json!({ "messages": { "@alice:example.org": { "*": { "body": "hi" } } } });
        server.put(send, &alice, messages).await.ok();
        let first = json!({ "extensions": { "to_device": { "enabled": true } } });
        let told = server.post(SLIDING, &alice, first.clone()).await.ok();
        let told = &told["extensions"]["to_device"];
        assert_eq!(told["events"][0]["content"]["body"], "hi");
        let since = &told["next_batch"];
        let next = json!({ "extensions": { "to_device": { "enabled": true, "since": since } } });
        server.post(SLIDING, &alice, next).await.ok();
        let gone = server.post(SLIDING, &alice, first).await.ok();
        assert_eq!(gone["extensions"]["to_device"].get("events"), None);
        let broken = json!({ "extensions": { "to_device": { "enabled": true, "since": "x" } } });
        let refused = server.post(SLIDING, &alice, broken).await;
        assert_eq!(refused.error(), (400, "M_INVALID_PARAM"));
    }
}
