//! <https://spec.matrix.org/v1.19/client-server-api/#push-notifications>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use luxchat_push::PusherRequest;
use luxchat_store::Pusher as StoredPusher;
use ruma::{
    api::client::push::{
        Pusher, PusherIds, PusherInit, PusherKind,
        get_pushers::v3 as get_pushers,
        set_pusher::v3::{self as set_pusher, PusherAction, PusherPostData},
    },
    push::HttpPusherData,
};
use serde_json::{Map, Value};

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<get_pushers::Request, _>(get)
        .endpoint::<set_pusher::Request, _>(set)
}

async fn get(
    state: State,
    session: Session,
    _: Matrix<get_pushers::Request>,
) -> Answer<get_pushers::Response> {
    let pushers = state.push.pushers(session.user_nid).await?;
    let pushers = pushers
        .into_iter()
        .map(told)
        .collect::<Result<_, Error>>()?;
    Ok(Reply(get_pushers::Response::new(pushers)))
}

async fn set(
    state: State,
    session: Session,
    Matrix(request): Matrix<set_pusher::Request>,
) -> Answer<set_pusher::Response> {
    let user = session.user_nid;
    match request.action {
        PusherAction::Post(wanted) => {
            if !session.has_device() {
                return Err(ApiError::bad_request("A pusher belongs to a device").into());
            }
            let wanted = wish(wanted)?;
            let device = session.device_id.clone();
            state.push.set_pusher(user, device, wanted).await?;
        }
        PusherAction::Delete(ids) => {
            state
                .push
                .delete_pusher(user, ids.app_id, ids.pushkey)
                .await?;
        }
        _ => return Err(ApiError::bad_request("Unknown kind of request").into()),
    }
    Ok(Reply(set_pusher::Response::new()))
}

/// What the client wants, where it is something that this server does.
fn wish(request: PusherPostData) -> Result<PusherRequest, Error> {
    let append = request.append;
    let pusher = request.pusher;
    let PusherKind::Http(http) = pusher.kind else {
        return Err(ApiError::invalid_param(
            "This server sends notifications by HTTP alone: kind must be \"http\"",
        )
        .into());
    };
    let mut data: Map<String, Value> = http.data.into_iter().collect();
    if let Some(format) = http.format {
        data.insert("format".to_owned(), format.as_str().into());
    }
    Ok(PusherRequest {
        app_id: pusher.ids.app_id,
        pushkey: pusher.ids.pushkey,
        app_display_name: pusher.app_display_name,
        device_display_name: pusher.device_display_name,
        profile_tag: pusher.profile_tag,
        lang: pusher.lang,
        url: http.url,
        data,
        append,
    })
}

fn told(pusher: StoredPusher) -> Result<Pusher, Error> {
    let settings = pusher.settings;
    let http = || -> serde_json::Result<HttpPusherData> {
        let mut data: Map<String, Value> = serde_json::from_str(&settings.data)?;
        data.insert("url".to_owned(), settings.url.clone().into());
        serde_json::from_value(data.into())
    };
    Ok(PusherInit {
        kind: PusherKind::Http(http().map_err(ApiError::internal)?),
        ids: PusherIds::new(settings.pushkey, settings.app_id),
        app_display_name: settings.app_display_name,
        device_display_name: settings.device_display_name,
        profile_tag: settings.profile_tag,
        lang: settings.lang,
    }
    .into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{PASSWORD, Server};

    const PUSHERS: &str = "/_matrix/client/v3/pushers";

    fn pusher() -> Value {
        json!({
            "kind": "http", "app_id": "app", "pushkey": "key", "lang": "en",
            "app_display_name": "App", "device_display_name": "Phone", "profile_tag": "tag",
            "data": {
                "url": "https://push.example.org/_matrix/push/v1/notify",
                "format": "event_id_only", "custom": { "a": 1 },
            },
        })
    }

    async fn set(server: &Server, token: &str, pusher: Value) -> crate::testing::Answered {
        server.post(&format!("{PUSHERS}/set"), token, pusher).await
    }

    async fn count(server: &Server, token: &str) -> usize {
        let listed = server.get(PUSHERS, token).await.ok();
        listed["pushers"].as_array().unwrap().len()
    }

    #[tokio::test]
    async fn pushers_are_set_listed_and_deleted() {
        let server = Server::new();
        let token = server.user("alice").await;
        assert_eq!(count(&server, &token).await, 0);
        set(&server, &token, pusher()).await.ok();
        let listed = server.get(PUSHERS, &token).await.ok();
        assert_eq!(listed, json!({ "pushers": [pusher()] }));
        let delete = json!({ "kind": null, "app_id": "app", "pushkey": "key" });
        set(&server, &token, delete.clone()).await.ok();
        assert_eq!(count(&server, &token).await, 0);
        set(&server, &token, delete).await.ok();
    }

    #[tokio::test]
    async fn what_the_server_does_not_do_is_refused() {
        let server = Server::new();
        let token = server.user("alice").await;
        let mut mail = pusher();
        mail["kind"] = json!("email");
        let mut elsewhere = pusher();
        elsewhere["data"]["url"] = json!("https://elsewhere.example/_matrix/push/v1/notify");
        let mut plain = pusher();
        plain["data"]["url"] = json!("http://push.example.org/_matrix/push/v1/notify");
        let mut long = pusher();
        long["app_id"] = json!("a".repeat(65));
        for wrong in [mail, elsewhere, plain, long] {
            let refused = set(&server, &token, wrong).await;
            assert_eq!(refused.error(), (400, "M_INVALID_PARAM"));
        }
        let mut missing = pusher();
        missing.as_object_mut().unwrap().remove("lang");
        assert_eq!(set(&server, &token, missing).await.status, 400);
    }

    #[tokio::test]
    async fn pushers_go_with_the_sessions_that_a_new_password_ends() {
        let server = Server::new();
        let token = server.user("alice").await;
        let other = server.log_in("alice", json!({})).await.ok();
        let other = other["access_token"].as_str().unwrap();
        set(&server, other, pusher()).await.ok();
        let mut own = pusher();
        own["pushkey"] = json!("own");
        set(&server, &token, own).await.ok();
        assert_eq!(count(&server, &token).await, 2);
        let change = json!({
            "new_password": "a better one, and longer",
            "auth": {
                "type": "m.login.password", "password": PASSWORD,
                "identifier": { "type": "m.id.user", "user": "alice" },
            },
        });
        let path = "/_matrix/client/v3/account/password";
        server.post(path, &token, change).await.ok();
        let listed = server.get(PUSHERS, &token).await.ok();
        assert_eq!(listed["pushers"][0]["pushkey"], "own");
        assert_eq!(listed["pushers"].as_array().unwrap().len(), 1);
    }
}
