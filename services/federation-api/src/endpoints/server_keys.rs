//! This server's keys, and those of others that it vouches for.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys>

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::{
    api::federation::discovery::{
        ServerSigningKeys, get_remote_server_keys::v2 as query_one,
        get_remote_server_keys_batch::v2 as query_many, get_server_keys::v2 as own,
    },
    serde::Raw,
};

use crate::{
    State,
    error::{Answer, Error},
};

/// Servers that one request may ask about.
const MAX_QUERIED: usize = 100;

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<own::Request, _>(own_keys)
        .endpoint::<query_one::Request, _>(query)
        .endpoint::<query_many::Request, _>(query_batch)
}

/// A notary for this server alone.
pub(crate) fn own_routes() -> Router<State> {
    Router::new()
        .endpoint::<own::Request, _>(own_keys)
        .endpoint::<query_one::Request, _>(query_own)
        .endpoint::<query_many::Request, _>(query_batch_own)
}

async fn query_own(
    state: State,
    Matrix(request): Matrix<query_one::Request>,
) -> Answer<query_one::Response> {
    let is_own = request.server_name == state.federation.server_name();
    let documents = own_documents(&state, is_own)?;
    Ok(Reply(query_one::Response::new(documents)))
}

async fn query_batch_own(
    state: State,
    Matrix(request): Matrix<query_many::Request>,
) -> Answer<query_many::Response> {
    let own = state.federation.server_name();
    let is_own = request.server_keys.keys().any(|server| server == own);
    let documents = own_documents(&state, is_own)?;
    Ok(Reply(query_many::Response::new(documents)))
}

fn own_documents(state: &State, wanted: bool) -> Result<Vec<Raw<ServerSigningKeys>>, Error> {
    let keys = state.federation.keys();
    let own = wanted.then(|| keys.own_document()).transpose()?;
    Ok(own.into_iter().collect())
}

async fn own_keys(state: State, Matrix(_): Matrix<own::Request>) -> Answer<own::Response> {
    let document = state.federation.keys().own_document()?;
    Ok(Reply(own::Response::new(document)))
}

async fn query(
    state: State,
    Matrix(request): Matrix<query_one::Request>,
) -> Answer<query_one::Response> {
    let documents = state
        .federation
        .keys()
        .vouched(&request.server_name, request.minimum_valid_until_ts)
        .await?;
    Ok(Reply(query_one::Response::new(documents)))
}

async fn query_batch(
    state: State,
    Matrix(request): Matrix<query_many::Request>,
) -> Answer<query_many::Response> {
    if request.server_keys.len() > MAX_QUERIED {
        let message = format!("At most {MAX_QUERIED} servers may be asked about at once");
        return Err(ApiError::too_large(message).into());
    }
    let mut documents = Vec::new();
    for (server, criteria) in request.server_keys {
        let until = criteria
            .into_values()
            .filter_map(|criteria| criteria.minimum_valid_until_ts)
            .max();
        let until = until.unwrap_or_else(|| state.store.clock().now());
        documents.extend(state.federation.keys().vouched(&server, until).await?);
    }
    Ok(Reply(query_many::Response::new(documents)))
}
