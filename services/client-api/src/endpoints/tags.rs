//! <https://spec.matrix.org/v1.19/client-server-api/#room-tagging>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::tag::{
    create_tag::v3 as create_tag, delete_tag::v3 as delete_tag, get_tags::v3 as get_tags,
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<get_tags::Request, _>(list)
        .endpoint::<create_tag::Request, _>(create)
        .endpoint::<delete_tag::Request, _>(delete)
}

async fn list(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_tags::Request>,
) -> Answer<get_tags::Response> {
    session.check_is(&request.user_id)?;
    let tags = state.accounts.tags(&session, &request.room_id).await?;
    Ok(Reply(get_tags::Response::new(tags)))
}

async fn create(
    state: State,
    session: Session,
    Matrix(request): Matrix<create_tag::Request>,
) -> Answer<create_tag::Response> {
    session.check_is(&request.user_id)?;
    state
        .accounts
        .set_tag(
            &session,
            &request.room_id,
            request.tag.into(),
            request.tag_info,
        )
        .await?;
    Ok(Reply(create_tag::Response::new()))
}

async fn delete(
    state: State,
    session: Session,
    Matrix(request): Matrix<delete_tag::Request>,
) -> Answer<delete_tag::Response> {
    session.check_is(&request.user_id)?;
    state
        .accounts
        .delete_tag(&session, &request.room_id, request.tag.into())
        .await?;
    Ok(Reply(delete_tag::Response::new()))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use ruma::{RoomVersionId, room_id};
    use serde_json::{Value, json};

    use crate::testing::Server;

    #[tokio::test]
    async fn tags_come_and_go() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server
            .services
            .store
            .write(|tx| tx.insert_room(room_id!("!a:example.org"), &RoomVersionId::V11));
        room.await.unwrap();
        let tags = "/_matrix/client/v3/user/@alice:example.org/rooms/!a:example.org/tags";
        let favourite = format!("{tags}/m.favourite");
        server
            .put(&favourite, &alice, json!({ "order": 0.25 }))
            .await
            .ok();
        server
            .put(&format!("{tags}/u.work"), &alice, json!({}))
            .await
            .ok();
        server
            .send(
                Method::DELETE,
                &format!("{tags}/u.work"),
                Some(&alice),
                Value::Null,
            )
            .await
            .ok();
        let kept = server.get(tags, &alice).await.ok();
        assert_eq!(
            kept,
            json!({ "tags": { "m.favourite": { "order": 0.25 } } })
        );
        let bob = server.user("bob").await;
        assert_eq!(server.get(tags, &bob).await.error(), (403, "M_FORBIDDEN"));
    }
}
