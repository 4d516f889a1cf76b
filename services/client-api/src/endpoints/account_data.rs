//! <https://spec.matrix.org/v1.19/client-server-api/#client-config>

use axum::{Json, Router, routing::delete};
use luxchat_http::{ApiError, Endpoints, Matrix, Path, Reply};
use ruma::{
    RoomId, UserId,
    api::client::config::{
        get_global_account_data::v3 as get_global, get_room_account_data::v3 as get_room,
        set_global_account_data::v3 as set_global, set_room_account_data::v3 as set_room,
    },
    serde::Raw,
};
use serde_json::{Value, json, value::RawValue};

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
};

/// [MSC3391](https://github.com/matrix-org/matrix-spec-proposals/pull/3391)
const DELETE_GLOBAL: &str =
    "/_matrix/client/unstable/org.matrix.msc3391/user/{user_id}/account_data/{event_type}";
const DELETE_IN_ROOM: &str = "/_matrix/client/unstable/org.matrix.msc3391/user/{user_id}/rooms/{room_id}/account_data/{event_type}";

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<get_global::Request, _>(get)
        .endpoint::<set_global::Request, _>(set)
        .endpoint::<get_room::Request, _>(get_in_room)
        .endpoint::<set_room::Request, _>(set_in_room)
        .route(DELETE_GLOBAL, delete(remove))
        .route(DELETE_IN_ROOM, delete(remove_in_room))
}

async fn get(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_global::Request>,
) -> Answer<get_global::Response> {
    session.check_is(&request.user_id)?;
    let content = state
        .accounts
        .account_data(&session, &request.event_type.to_string())
        .await?;
    Ok(Reply(get_global::Response::new(Raw::from_json(content))))
}

async fn set(
    state: State,
    session: Session,
    Matrix(request): Matrix<set_global::Request>,
) -> Answer<set_global::Response> {
    session.check_is(&request.user_id)?;
    let content = request.data.into_json();
    state
        .accounts
        .set_account_data(&session, &request.event_type.to_string(), content)
        .await?;
    Ok(Reply(set_global::Response::new()))
}

async fn get_in_room(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_room::Request>,
) -> Answer<get_room::Response> {
    session.check_is(&request.user_id)?;
    let content = state
        .accounts
        .room_account_data(&session, &request.room_id, &request.event_type.to_string())
        .await?;
    Ok(Reply(get_room::Response::new(Raw::from_json(content))))
}

async fn set_in_room(
    state: State,
    session: Session,
    Matrix(request): Matrix<set_room::Request>,
) -> Answer<set_room::Response> {
    session.check_is(&request.user_id)?;
    let content = request.data.into_json();
    let event_type = request.event_type.to_string();
    state
        .accounts
        .set_room_account_data(&session, &request.room_id, &event_type, content)
        .await?;
    Ok(Reply(set_room::Response::new()))
}

async fn remove(
    state: State,
    session: Session,
    Path((user_id, event_type)): Path<(String, String)>,
) -> Result<Json<Value>, Error> {
    session.check_is(user(&user_id)?)?;
    state
        .accounts
        .set_account_data(&session, &event_type, nothing()?)
        .await?;
    Ok(Json(json!({})))
}

async fn remove_in_room(
    state: State,
    session: Session,
    Path((user_id, room_id, event_type)): Path<(String, String, String)>,
) -> Result<Json<Value>, Error> {
    session.check_is(user(&user_id)?)?;
    let room_id = <&RoomId>::try_from(room_id.as_str())
        .map_err(|error| ApiError::invalid_param(error.to_string()))?;
    state
        .accounts
        .set_room_account_data(&session, room_id, &event_type, nothing()?)
        .await?;
    Ok(Json(json!({})))
}

fn user(user_id: &str) -> Result<&UserId, ApiError> {
    <&UserId>::try_from(user_id).map_err(|error| ApiError::invalid_param(error.to_string()))
}

fn nothing() -> Result<Box<RawValue>, ApiError> {
    RawValue::from_string("{}".to_owned()).map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use crate::testing::Server;

    const USER: &str = "/_matrix/client/v3/user/@alice:example.org";

    #[tokio::test]
    async fn a_client_gets_back_what_it_kept() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let path = format!("{USER}/account_data/org.example");
        assert_eq!(
            server.get(&path, &alice).await.error(),
            (404, "M_NOT_FOUND")
        );
        server.put(&path, &alice, json!({ "a": 1 })).await.ok();
        assert_eq!(server.get(&path, &alice).await.ok(), json!({ "a": 1 }));
        assert_eq!(server.get(&path, &bob).await.error(), (403, "M_FORBIDDEN"));
        let stolen = server.put(&path, &bob, json!({})).await;
        assert_eq!(stolen.error(), (403, "M_FORBIDDEN"));
    }

    #[tokio::test]
    async fn what_is_deleted_is_gone() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let room = server.room(&alice, json!({})).await;
        let unstable = "/_matrix/client/unstable/org.matrix.msc3391/user/@alice:example.org";
        for place in [
            "account_data/a.b".to_owned(),
            format!("rooms/{room}/account_data/a.b"),
        ] {
            let path = format!("{USER}/{place}");
            server.put(&path, &alice, json!({ "a": 1 })).await.ok();
            let delete = format!("{unstable}/{place}");
            let delete = |token| server.send(Method::DELETE, &delete, Some(token), Value::Null);
            assert_eq!(delete(&bob).await.error(), (403, "M_FORBIDDEN"));
            delete(&alice).await.ok();
            assert_eq!(
                server.get(&path, &alice).await.error(),
                (404, "M_NOT_FOUND")
            );
        }
    }

    #[tokio::test]
    async fn some_types_have_endpoints_of_their_own() {
        let server = Server::new();
        let alice = server.user("alice").await;
        for path in [
            format!("{USER}/account_data/m.push_rules"),
            format!("{USER}/account_data/m.fully_read"),
            format!("{USER}/rooms/!a:example.org/account_data/m.fully_read"),
        ] {
            let refused = server.put(&path, &alice, json!({})).await;
            assert_eq!(refused.error(), (405, "M_BAD_JSON"));
        }
        let rules = format!("{USER}/account_data/m.push_rules");
        assert!(server.get(&rules, &alice).await.ok()["global"].is_object());
    }

    #[tokio::test]
    async fn nothing_is_kept_for_a_room_that_is_not_there() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let path = format!("{USER}/rooms/!a:example.org/account_data/org.example");
        assert_eq!(
            server.get(&path, &alice).await.error(),
            (404, "M_NOT_FOUND")
        );
        let refused = server.put(&path, &alice, json!({})).await;
        assert_eq!(refused.error(), (404, "M_NOT_FOUND"));
        let tag = format!("{USER}/rooms/!a:example.org/tags/m.favourite");
        let refused = server.put(&tag, &alice, json!({ "order": 0.5 })).await;
        assert_eq!(refused.error(), (404, "M_NOT_FOUND"));
    }
}
