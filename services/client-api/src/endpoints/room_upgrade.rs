//! <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>

use axum::Router;
use luxchat_http::{Endpoints, Matrix, Reply};
use luxchat_rooms::Upgrade;
use ruma::api::client::room::upgrade_room::v3 as upgrade_room;

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new().endpoint::<upgrade_room::Request, _>(upgrade)
}

async fn upgrade(
    state: State,
    session: Session,
    Matrix(request): Matrix<upgrade_room::Request>,
) -> Answer<upgrade_room::Response> {
    session.check_not_suspended()?;
    let upgrade = Upgrade {
        user: session.user_id.clone(),
        room_id: request.room_id,
        version: request.new_version,
        additional_creators: request.additional_creators,
    };
    let replacement = state.rooms.upgrade(upgrade).await?;
    Ok(Reply(upgrade_room::Response::new(replacement)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn an_old_room_leads_to_the_new_one() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let old = json!({ "room_version": "10", "name": "Weather" });
        let old = server.room(&alice, old).await;
        let path = format!("/_matrix/client/v3/rooms/{old}/upgrade");
        let unknown = json!({ "new_version": "unheard-of" });
        let unknown = server.post(&path, &alice, unknown).await;
        assert_eq!(unknown.error(), (400, "M_UNSUPPORTED_ROOM_VERSION"));
        let upgraded = json!({ "new_version": "12" });
        let upgraded = server.post(&path, &alice, upgraded).await.ok();
        let new = upgraded["replacement_room"].as_str().unwrap();
        let state =
            |room: &str, kind: &str| format!("/_matrix/client/v3/rooms/{room}/state/{kind}");
        let tombstone = server.get(&state(&old, "m.room.tombstone"), &alice).await;
        assert_eq!(tombstone.ok()["replacement_room"], new);
        let name = server.get(&state(new, "m.room.name"), &alice).await.ok();
        assert_eq!(name["name"], "Weather");
    }
}
