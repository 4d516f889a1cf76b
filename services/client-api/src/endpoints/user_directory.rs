//! <https://spec.matrix.org/v1.19/client-server-api/#user-directory>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::user_directory::search_users::v3::{Request, Response, User};

use crate::{State, auth::Session, error::Answer};

/// The most users in one answer.
const MAX_RESULTS: usize = 100;

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(search)
}

async fn search(
    state: State,
    session: Session,
    Matrix(request): Matrix<Request>,
) -> Answer<Response> {
    let limit = usize::try_from(u64::from(request.limit)).unwrap_or(usize::MAX);
    let (found, is_limited) = state
        .accounts
        .search_users(&session, &request.search_term, limit.min(MAX_RESULTS))
        .await?;
    let users = found.into_iter().map(|found| {
        let mut user = User::new(found.user_id);
        user.display_name = found.display_name;
        user.avatar_url = found.avatar_url;
        user
    });
    Ok(Reply(Response::new(users.collect(), is_limited)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn people_are_found_by_name() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let name = "/_matrix/client/v3/profile/@bob:example.org/displayname";
        server
            .put(name, &bob, json!({ "displayname": "Robert" }))
            .await
            .ok();
        let path = "/_matrix/client/v3/user_directory/search";
        let search = async |body| server.post(path, &alice, body).await.ok();
        let found = search(json!({ "search_term": "rob" })).await;
        let expected = json!([{ "user_id": "@bob:example.org", "display_name": "Robert" }]);
        assert_eq!(found, json!({ "results": expected, "limited": false }));
        let found = search(json!({ "search_term": "rob", "limit": 0 })).await;
        assert_eq!(found, json!({ "results": [], "limited": true }));
    }
}
