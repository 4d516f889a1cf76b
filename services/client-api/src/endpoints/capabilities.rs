//! <https://spec.matrix.org/v1.19/client-server-api/#capabilities-negotiation>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::client::discovery::get_capabilities::v3::{
    AccountModerationCapability, Capabilities, ChangePasswordCapability, GetLoginTokenCapability,
    ProfileFieldsCapability, Request, Response, RoomVersionStability, RoomVersionsCapability,
    ThirdPartyIdChangesCapability,
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<Request, _>(capabilities)
}

async fn capabilities(session: Session, _: Matrix<Request>) -> Answer<Response> {
    let stable = luxchat_rooms::VERSIONS
        .iter()
        .map(|version| (version.clone(), RoomVersionStability::Stable));
    let mut capabilities = Capabilities::new();
    capabilities.room_versions =
        RoomVersionsCapability::new(luxchat_rooms::DEFAULT_VERSION, stable.collect());
    capabilities.change_password = ChangePasswordCapability::new(true);
    capabilities.profile_fields = Some(ProfileFieldsCapability::new(true));
    capabilities.thirdparty_id_changes = ThirdPartyIdChangesCapability::new(false);
    capabilities.get_login_token = GetLoginTokenCapability::new(false);
    capabilities.account_moderation =
        AccountModerationCapability::new(session.is_admin, session.is_admin);
    Ok(Reply(Response::new(capabilities)))
}

#[cfg(test)]
mod tests {
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
        assert_eq!(capabilities["m.profile_fields"]["enabled"], true);
    }
}
