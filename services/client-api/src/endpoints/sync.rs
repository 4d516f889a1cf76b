//! <https://spec.matrix.org/v1.19/client-server-api/#syncing>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Query};
use luxchat_sync::{RelationFilter, SyncRequest, SyncToken, Viewer};
use ruma::api::client::{filter::FilterDefinition, sync::sync_events::v3 as sync_events};
use serde::Deserialize;

use super::sync_response::SyncReply;
use crate::{State, auth::Session, error::Error};

/// What ruma's type of the request does not say.
#[derive(Deserialize)]
struct MoreParameters {
    /// The filter as the client wrote it.
    filter: Option<String>,
    /// How clients asked for the state after the timeline before that was in the specification.
    #[serde(rename = "org.matrix.msc4222.use_state_after")]
    unstable_use_state_after: Option<String>,
}

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<sync_events::Request, _>(sync)
}

impl Session {
    /// The session as reads know it.
    pub(crate) fn viewer(&self) -> Viewer {
        Viewer {
            user_id: self.user_id.clone(),
            user: self.user_nid,
            device_id: self.device_id.clone(),
        }
    }
}

async fn sync(
    state: State,
    session: Session,
    Query(more): Query<MoreParameters>,
    Matrix(request): Matrix<sync_events::Request>,
) -> Result<SyncReply, Error> {
    let unstable_state_after = more.unstable_use_state_after.as_deref() == Some("true");
    // Some clients send an empty token for none.
    let since = request.since.filter(|since| !since.is_empty());
    let since = since.as_deref().map(str::parse::<SyncToken>).transpose()?;
    if let Some(since) = since {
        acknowledge_to_device(&state, &session, since).await?;
    }
    let (filter, relations) = filter(&state, &session, more.filter.as_deref()).await?;
    let set_presence = request.set_presence;
    let request = SyncRequest {
        since,
        filter,
        relations,
        full_state: request.full_state,
        use_state_after: request.use_state_after || unstable_state_after,
        timeout: request.timeout.unwrap_or_default(),
    };
    let viewer = session.viewer();
    let _there = state.presence.sync(&viewer, set_presence).await?;
    Ok(SyncReply {
        response: state.sync.sync_v3(viewer, request).await?,
        unstable_state_after,
    })
}

/// Whoever asks for what came after a token has what came before.
pub(super) async fn acknowledge_to_device(
    state: &State,
    session: &Session,
    since: SyncToken,
) -> Result<(), Error> {
    let (user, device_id) = (session.user_nid, session.device_id.clone());
    let has_some = state
        .store
        .read(move |tx| tx.has_to_device_up_to(user, &device_id, since.to_device))
        .await?;
    if has_some {
        let device_id = session.device_id.clone();
        state
            .store
            .write(move |tx| tx.acknowledge_to_device(user, &device_id, since.to_device))
            .await?;
    }
    Ok(())
}

/// The filter, and what it says of relations, which ruma's type does not know.
async fn filter(
    state: &State,
    session: &Session,
    filter: Option<&str>,
) -> Result<(FilterDefinition, RelationFilter), Error> {
    let definition = match filter {
        None | Some("") => return Ok(Default::default()),
        Some(definition) if definition.trim_start().starts_with('{') => definition.to_owned(),
        Some(id) => state.accounts.filter(session, id).await?.get().to_owned(),
    };
    let filter = serde_json::from_str(&definition)
        .map_err(|error| ApiError::invalid_param(format!("filter: {error}")))?;
    Ok((filter, RelationFilter::of_sync_filter(&definition)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    const SYNC: &str = "/_matrix/client/v3/sync";

    #[tokio::test]
    async fn a_filter_counts_inline_and_by_its_id() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({})).await;
        server.message(&alice, &room, "hello").await;
        let filter = json!({ "room": { "timeline": { "limit": 1 } } });
        let path = "/_matrix/client/v3/user/@alice:example.org/filter";
        let stored = server.post(path, &alice, filter).await.ok();
        let stored = stored["filter_id"].as_str().unwrap();
        let inline = "%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A1%7D%7D%7D";
        for filter in [stored, inline] {
            let path = format!("{SYNC}?filter={filter}");
            let synced = server.get(&path, &alice).await.ok();
            let timeline = &synced["rooms"]["join"][&room]["timeline"];
            assert_eq!(timeline["events"].as_array().unwrap().len(), 1);
            assert_eq!(timeline["limited"], true);
        }
        let unknown = server.get(&format!("{SYNC}?filter=99"), &alice).await;
        assert_eq!(unknown.error(), (404, "M_NOT_FOUND"));
        let unknown = server.get(&format!("{SYNC}?since=yesterday"), &alice).await;
        assert_eq!(unknown.error(), (400, "M_INVALID_PARAM"));
    }

    #[tokio::test]
    async fn state_after_the_timeline_bears_the_name_that_was_asked_for() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({})).await;
        let plain = server.get(SYNC, &alice).await.ok();
        let timeline = &plain["rooms"]["join"][&room]["timeline"];
        assert_eq!(timeline["limited"], false);
        for (parameter, field) in [
            ("use_state_after", "state_after"),
            (
                "org.matrix.msc4222.use_state_after",
                "org.matrix.msc4222.state_after",
            ),
        ] {
            let path = format!("{SYNC}?{parameter}=true");
            let synced = server.get(&path, &alice).await.ok();
            let state = &synced["rooms"]["join"][&room][field]["events"];
            assert!(!state.as_array().unwrap().is_empty(), "{field}");
        }
    }

    #[tokio::test]
    async fn events_come_as_servers_send_them_where_that_is_asked_for() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({})).await;
        let filter = "%7B%22event_format%22%3A%22federation%22%7D";
        let path = format!("{SYNC}?filter={filter}");
        let synced = server.get(&path, &alice).await.ok();
        let event = &synced["rooms"]["join"][&room]["timeline"]["events"][1];
        assert!(event["auth_events"].is_array() && event["signatures"].is_object());
        assert!(event["event_id"].as_str().unwrap().starts_with('$'));
    }

    #[tokio::test]
    async fn a_room_left_and_forgotten_is_told_once_more() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server.room(&alice, json!({})).await;
        let first = server.get(SYNC, &alice).await.ok();
        for action in ["leave", "forget"] {
            let path = format!("/_matrix/client/v3/rooms/{room}/{action}");
            server.post(&path, &alice, json!({})).await.ok();
        }
        let next = format!("{SYNC}?since={}", first["next_batch"].as_str().unwrap());
        let synced = server.get(&next, &alice).await.ok();
        assert!(synced["rooms"]["leave"][&room].is_object());
        let filter = "filter=%7B%22room%22%3A%7B%22include_leave%22%3Atrue%7D%7D";
        let fresh = server.get(&format!("{SYNC}?{filter}"), &alice).await.ok();
        assert!(fresh["rooms"].get("leave").is_none());
    }

    #[tokio::test]
    async fn a_first_sync_tells_the_default_push_rules() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let synced = server.get(SYNC, &alice).await.ok();
        let data = synced["account_data"]["events"].as_array().unwrap();
        let rules: Vec<_> = data
            .iter()
            .filter(|event| event["type"] == "m.push_rules")
            .collect();
        assert_eq!(rules.len(), 1);
        assert!(rules[0]["content"]["global"]["override"].is_array());
    }

    #[tokio::test]
    async fn an_invite_is_synced_with_what_names_the_room() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let request = json!({ "name": "Weather", "invite": ["@bob:example.org"] });
        let room = server.room(&alice, request).await;
        let synced = server.get(SYNC, &bob).await.ok();
        let state = &synced["rooms"]["invite"][&room]["invite_state"]["events"];
        let state = state.as_array().unwrap();
        let name = state.iter().find(|event| event["type"] == "m.room.name");
        assert_eq!(name.unwrap()["content"]["name"], "Weather");
        let inviter = state
            .iter()
            .any(|event| event["sender"] == "@alice:example.org");
        assert!(inviter);
    }
}
