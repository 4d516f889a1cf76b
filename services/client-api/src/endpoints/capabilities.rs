//! <https://spec.matrix.org/v1.19/client-server-api/#capabilities-negotiation>

use axum::{Json, Router};
use luxchat_http::{Endpoints, Matrix};
use ruma::api::client::discovery::get_capabilities::v3::Request;
use serde_json::{Map, Value, json};

use crate::{State, auth::Session};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(capabilities)
}

/// Every capability is spelled out: ruma's type leaves those out that are as they are by default.
async fn capabilities(state: State, session: Session, _: Matrix<Request>) -> Json<Value> {
    let stable: Map<String, Value> = luxchat_rooms::VERSIONS
        .iter()
        .map(|version| (version.to_string(), json!("stable")))
        .collect();
    let moderation = json!({ "lock": session.is_admin, "suspend": session.is_admin });
    Json(json!({
        "capabilities": {
            "m.room_versions": {
                "default": state.rooms.default_version(),
                "available": stable,
            },
            "m.change_password": { "enabled": true },
            "m.profile_fields": { "enabled": true },
            "m.set_displayname": { "enabled": true },
            "m.set_avatar_url": { "enabled": true },
            "m.3pid_changes": { "enabled": state.accounts.sends_email() },
            "m.get_login_token": { "enabled": true },
            "m.account_moderation": moderation,
        },
    }))
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn clients_learn_the_room_versions() {
        let server = Server::new();
        let token = server.user("alice").await;
        let path = "/_matrix/client/v3/capabilities";
        let capabilities = server.get(path, &token).await.ok()["capabilities"].clone();
        let versions = &capabilities["m.room_versions"];
        assert_eq!(versions["default"], "12");
        for version in 6..=12 {
            assert_eq!(versions["available"][version.to_string()], "stable");
        }
        assert_eq!(capabilities["m.3pid_changes"]["enabled"], false);
        assert_eq!(capabilities["m.change_password"]["enabled"], true);
    }

    #[tokio::test]
    async fn administrators_may_moderate() {
        let server = Server::new();
        let token = server.user("alice").await;
        let path = "/_matrix/client/v3/capabilities";
        for is_admin in [false, true] {
            let alice = user_id!("@alice:example.org");
            server
                .services
                .accounts
                .set_admin(alice, is_admin)
                .await
                .unwrap();
            let answer = server.get(path, &token).await.ok();
            let moderation = &answer["capabilities"]["m.account_moderation"];
            assert_eq!(
                *moderation,
                json!({ "lock": is_admin, "suspend": is_admin })
            );
        }
    }
}
