//! <https://spec.matrix.org/v1.19/client-server-api/#reporting-content>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use luxchat_store::Reported;
use ruma::{
    OwnedUserId,
    api::client::{
        reporting::report_user::v3 as report_user,
        room::{report_content::v3 as report_event, report_room::v3 as report_room},
    },
};

use crate::{State, auth::Session, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<report_event::Request, _>(event)
        .endpoint::<report_room::Request, _>(room)
        .endpoint::<report_user::Request, _>(user)
}

/// Who may not see an event cannot report it.
async fn event(
    state: State,
    session: Session,
    Matrix(request): Matrix<report_event::Request>,
) -> Answer<report_event::Response> {
    let (room_id, event_id) = (request.room_id.clone(), request.event_id.clone());
    let event = state
        .sync
        .event(session.viewer(), room_id, event_id)
        .await?;
    let sender = event.get_field::<OwnedUserId>("sender");
    let sender = sender.ok().flatten();
    let sender = sender.ok_or_else(|| ApiError::internal("an event without sender"))?;
    let reported = Reported::Event {
        room_id: request.room_id.into(),
        event_id: request.event_id.into(),
        sender: sender.into(),
    };
    let reason = request.reason.unwrap_or_default();
    state.accounts.report(&session, reported, reason).await?;
    Ok(Reply(report_event::Response::new()))
}

async fn room(
    state: State,
    session: Session,
    Matrix(request): Matrix<report_room::Request>,
) -> Answer<report_room::Response> {
    let reported = Reported::Room(request.room_id.into());
    let reason = request.reason;
    state.accounts.report(&session, reported, reason).await?;
    Ok(Reply(report_room::Response::new()))
}

async fn user(
    state: State,
    session: Session,
    Matrix(request): Matrix<report_user::Request>,
) -> Answer<report_user::Response> {
    let reported = Reported::User(request.user_id.into());
    let reason = request.reason;
    state.accounts.report(&session, reported, reason).await?;
    Ok(Reply(report_user::Response::new()))
}

#[cfg(test)]
mod tests {
    use luxchat_store::Reported;
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn the_operator_sees_what_users_report() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let room = server.room(&alice, json!({})).await;
        let event = server.message(&alice, &room, "offensive").await;
        let base = "/_matrix/client/v3";
        let why = json!({ "reason": "rude" });
        let path = format!("{base}/rooms/{room}/report/{event}");
        let hidden = server.post(&path, &bob, why.clone()).await;
        assert_eq!(hidden.error(), (404, "M_NOT_FOUND"));
        for path in [
            path,
            format!("{base}/rooms/{room}/report"),
            format!("{base}/users/@bob:example.org/report"),
        ] {
            server.post(&path, &alice, why.clone()).await.ok();
        }
        for path in [
            "rooms/!no:example.org/report",
            "users/@no:example.org/report",
        ] {
            let path = format!("{base}/{path}");
            let unknown = server.post(&path, &alice, why.clone()).await;
            assert_eq!(unknown.error(), (404, "M_NOT_FOUND"), "{path}");
        }
        let reports = server.services.accounts.reports(None, 10).await.unwrap();
        let reported: Vec<_> = reports.iter().map(|report| &report.reported).collect();
        let expected = [
            Reported::User("@bob:example.org".to_owned()),
            Reported::Room(room.clone()),
            Reported::Event {
                room_id: room,
                event_id: event,
                sender: "@alice:example.org".to_owned(),
            },
        ];
        assert_eq!(reported, expected.iter().collect::<Vec<_>>());
        assert!(reports.iter().all(|report| report.reason == "rude"));
    }
}
