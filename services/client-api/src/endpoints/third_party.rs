//! <https://spec.matrix.org/v1.19/client-server-api/#third-party-networks>: what application services bridge to.

use std::collections::BTreeMap;

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::{
    api::client::thirdparty::{
        get_location_for_protocol::v3 as locations,
        get_location_for_room_alias::v3 as locations_of, get_protocol::v3 as protocol,
        get_protocols::v3 as protocols, get_user_for_protocol::v3 as users,
        get_user_for_user_id::v3 as users_of,
    },
    thirdparty::Protocol,
};
use serde_json::Value;
use tracing::debug;

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<protocols::Request, _>(protocols)
        .endpoint::<protocol::Request, _>(protocol)
        .endpoint::<locations::Request, _>(locations)
        .endpoint::<locations_of::Request, _>(locations_of)
        .endpoint::<users::Request, _>(users)
        .endpoint::<users_of::Request, _>(users_of)
}

async fn protocols(
    state: State,
    _: Session,
    _: Matrix<protocols::Request>,
) -> Answer<protocols::Response> {
    let known = state.application_services.protocols().await.into_iter();
    let known: BTreeMap<_, _> = known
        .filter_map(|(name, described)| Some((name, parsed(described)?)))
        .collect();
    Ok(Reply(protocols::Response::new(known)))
}

async fn protocol(
    state: State,
    _: Session,
    Matrix(request): Matrix<protocol::Request>,
) -> Answer<protocol::Response> {
    let described = state.application_services.protocol(&request.protocol).await;
    let described = described.and_then(parsed).ok_or_else(unknown)?;
    Ok(Reply(protocol::Response::new(described)))
}

async fn locations(
    state: State,
    _: Session,
    Matrix(request): Matrix<locations::Request>,
) -> Answer<locations::Response> {
    let fields = fields(request.fields);
    let services = &state.application_services;
    let found = services.third_party("location", &request.protocol, &fields);
    let found = found.await.ok_or_else(unknown)?;
    Ok(Reply(locations::Response::new(found)))
}

async fn locations_of(
    state: State,
    _: Session,
    Matrix(request): Matrix<locations_of::Request>,
) -> Answer<locations_of::Response> {
    let services = &state.application_services;
    let found = services.third_party_by_id("location", "alias", request.alias.as_str());
    Ok(Reply(locations_of::Response::new(found.await)))
}

async fn users(
    state: State,
    _: Session,
    Matrix(request): Matrix<users::Request>,
) -> Answer<users::Response> {
    let fields = fields(request.fields);
    let services = &state.application_services;
    let found = services.third_party("user", &request.protocol, &fields);
    let found = found.await.ok_or_else(unknown)?;
    Ok(Reply(users::Response::new(found)))
}

async fn users_of(
    state: State,
    _: Session,
    Matrix(request): Matrix<users_of::Request>,
) -> Answer<users_of::Response> {
    let services = &state.application_services;
    let found = services.third_party_by_id("user", "userid", request.userid.as_str());
    Ok(Reply(users_of::Response::new(found.await)))
}

/// What a service says of a network, unless it is not what it should be.
fn parsed(described: Value) -> Option<Protocol> {
    serde_json::from_value(described)
        .inspect_err(|error| debug!(%error, "an application service describes a network badly"))
        .ok()
}

/// The fields to search by: whoever asks gives their token to this server alone.
fn fields(fields: BTreeMap<String, String>) -> Vec<(String, String)> {
    let fields = fields.into_iter();
    fields.filter(|(key, _)| key != "access_token").collect()
}

fn unknown() -> Error {
    ApiError::not_found("No application service bridges to this network").into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn without_services_there_are_no_networks() {
        let server = Server::new();
        let token = server.user("alice").await;
        let get = async |path: &str| {
            let path = format!("/_matrix/client/v3/thirdparty/{path}");
            server.get(&path, &token).await
        };
        assert_eq!(get("protocols").await.ok(), json!({}));
        assert_eq!(get("protocol/irc").await.error(), (404, "M_NOT_FOUND"));
        assert_eq!(get("user/irc?nick=x").await.error(), (404, "M_NOT_FOUND"));
        let found = get("user?userid=@alice:example.org").await.ok();
        assert_eq!(found, json!([]));
    }
}
