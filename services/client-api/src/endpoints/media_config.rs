//! What clients ask before they offer an upload.
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediaconfig>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
#[expect(deprecated, reason = "clients before v1.11 ask here")]
use ruma::api::client::media::get_media_config::v3::Request as LegacyRequest;
use ruma::{
    UInt,
    api::client::{
        authenticated_media::get_media_config::v1 as config,
        media::get_media_config::v3::Response as LegacyResponse,
    },
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    let router = Router::new().endpoint::<config::Request, _>(config);
    #[expect(deprecated, reason = "clients before v1.11 ask here")]
    router.endpoint::<LegacyRequest, _>(legacy_config)
}

async fn config(state: State, _: Session, _: Matrix<config::Request>) -> Answer<config::Response> {
    let limit = UInt::new_saturating(state.media.max_bytes());
    Ok(Reply(config::Response::new(limit)))
}

async fn legacy_config(state: State, _: Session) -> Answer<LegacyResponse> {
    let limit = UInt::new_saturating(state.media.max_bytes());
    Ok(Reply(LegacyResponse::new(limit)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn clients_learn_the_largest_upload() {
        let server = Server::new();
        let token = server.user("alice").await;
        for path in [
            "/_matrix/client/v1/media/config",
            "/_matrix/media/v3/config",
        ] {
            let answer = server.get(path, &token).await.ok();
            assert_eq!(answer, json!({ "m.upload.size": 104_857_600 }));
        }
    }
}
