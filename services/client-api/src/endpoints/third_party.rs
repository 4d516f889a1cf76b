//! <https://spec.matrix.org/v1.19/client-server-api/#third-party-networks>

use std::collections::BTreeMap;

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::thirdparty::get_protocols::v3::{Request, Response};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(protocols)
}

/// There are no bridges here.
async fn protocols(_: Session, _: Matrix<Request>) -> Answer<Response> {
    Ok(Reply(Response::new(BTreeMap::new())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn there_are_no_bridges() {
        let server = Server::new();
        let token = server.user("alice").await;
        let path = "/_matrix/client/v3/thirdparty/protocols";
        assert_eq!(server.get(path, &token).await.ok(), json!({}));
    }
}
