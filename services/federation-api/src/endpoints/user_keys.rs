//! <https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption>

use std::collections::BTreeMap;

use axum::Router;
use luxchat_encryption::CrossSigningUsage;
use luxchat_http::{Endpoints, Matrix, Reply};
use ruma::api::federation::keys::{claim_keys::v1 as claim_keys, get_keys::v1 as get_keys};

use crate::{State, error::Answer};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<get_keys::Request, _>(query)
        .endpoint::<claim_keys::Request, _>(claim)
}

async fn query(
    state: State,
    Matrix(request): Matrix<get_keys::Request>,
) -> Answer<get_keys::Response> {
    let users = state
        .encryption
        .serve_key_query(request.device_keys)
        .await?;
    let mut response = get_keys::Response::new(BTreeMap::new());
    for (user, mut keys) in users {
        let mut take = |usage| keys.cross_signing.remove(&usage).map(|stored| stored.key);
        if let Some(key) = take(CrossSigningUsage::Master) {
            response.master_keys.insert(user.clone(), key);
        }
        if let Some(key) = take(CrossSigningUsage::SelfSigning) {
            response.self_signing_keys.insert(user.clone(), key);
        }
        response.device_keys.insert(user, keys.devices);
    }
    Ok(Reply(response))
}

async fn claim(
    state: State,
    Matrix(request): Matrix<claim_keys::Request>,
) -> Answer<claim_keys::Response> {
    let keys = state.encryption.serve_claim(request.one_time_keys).await?;
    Ok(Reply(claim_keys::Response::new(keys)))
}
