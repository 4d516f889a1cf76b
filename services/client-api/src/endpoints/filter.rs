//! <https://spec.matrix.org/v1.19/client-server-api/#filtering>

use axum::{Json, Router};
use luxchat_http::{ApiError, Endpoints, Matrix, MatrixWithBody, Reply};
use ruma::api::client::filter::{
    EventFormat, create_filter::v3 as create_filter, get_filter::v3 as get_filter,
};
use serde_json::value::RawValue;

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<create_filter::Request, _>(create)
        .endpoint::<get_filter::Request, _>(get)
}

async fn create(
    state: State,
    session: Session,
    // Kept as it came: ruma's type does not know all fields.
    MatrixWithBody { request, body }: MatrixWithBody<create_filter::Request>,
) -> Answer<create_filter::Response> {
    session.check_is(&request.user_id)?;
    if !matches!(
        request.filter.event_format,
        EventFormat::Client | EventFormat::Federation
    ) {
        return Err(ApiError::invalid_param("event_format is client or federation").into());
    }
    let id = state.accounts.create_filter(&session, &body).await?;
    Ok(Reply(create_filter::Response::new(id)))
}

async fn get(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_filter::Request>,
) -> Result<Json<Box<RawValue>>, Error> {
    session.check_is(&request.user_id)?;
    let filter = state.accounts.filter(&session, &request.filter_id).await?;
    Ok(Json(filter))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn a_filter_is_found_by_its_id() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let path = "/_matrix/client/v3/user/@alice:example.org/filter";
        let filter = json!({ "room": { "timeline": { "limit": 7 } } });
        let made = server.post(path, &alice, filter.clone()).await.ok();
        let id = made["filter_id"].as_str().unwrap();
        let found = server.get(&format!("{path}/{id}"), &alice).await.ok();
        assert_eq!(found, filter);
        let missing = server.get(&format!("{path}/77"), &alice).await;
        assert_eq!(missing.error(), (404, "M_NOT_FOUND"));
        let broken = server.post(path, &alice, json!({ "room": 7 })).await;
        assert_eq!(broken.error(), (400, "M_BAD_JSON"));
        let unknown = json!({ "event_format": "none" });
        let unknown = server.post(path, &alice, unknown).await;
        assert_eq!(unknown.error(), (400, "M_INVALID_PARAM"));
        let bob = server.user("bob").await;
        let stolen = server.get(&format!("{path}/{id}"), &bob).await;
        assert_eq!(stolen.error(), (403, "M_FORBIDDEN"));
    }
}
