//! <https://spec.matrix.org/v1.19/client-server-api/#end-to-end-encryption>

use std::collections::BTreeMap;

use axum::Router;
use luxchat_encryption::{
    CrossSigningUpload, CrossSigningUsage, Error as EncryptionError, KeyUpload, SignatureFailure,
};
use luxchat_federation::Error as FederationError;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::{
    OwnedServerName,
    api::client::keys::{
        claim_keys::v3 as claim_keys,
        get_key_changes::v3 as get_key_changes,
        get_keys::v3 as get_keys,
        upload_keys::v3 as upload_keys,
        upload_signatures::v3::{self as upload_signatures, Failure},
        upload_signing_keys::v3 as upload_signing_keys,
    },
};
use serde_json::{Value, json};

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<upload_keys::Request, _>(upload)
        .endpoint::<get_keys::Request, _>(query)
        .endpoint::<claim_keys::Request, _>(claim)
        .endpoint::<get_key_changes::Request, _>(changes)
        .endpoint::<upload_signing_keys::Request, _>(upload_cross_signing)
        .endpoint::<upload_signatures::Request, _>(upload_signatures)
}

async fn upload(
    state: State,
    session: Session,
    Matrix(request): Matrix<upload_keys::Request>,
) -> Answer<upload_keys::Response> {
    let upload = KeyUpload {
        device_keys: request.device_keys,
        one_time_keys: request.one_time_keys,
        fallback_keys: request.fallback_keys,
    };
    let counts = state
        .encryption
        .upload_keys(&session.user_id, &session.device_id, upload)
        .await?;
    Ok(Reply(upload_keys::Response::new(counts)))
}

async fn query(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_keys::Request>,
) -> Answer<get_keys::Response> {
    let queried = state
        .encryption
        .query_keys(&session.user_id, request.device_keys, request.timeout)
        .await?;
    let mut response = get_keys::Response::new();
    response.failures = failures(queried.failures);
    for (user, mut keys) in queried.users {
        let mut take = |usage| keys.cross_signing.remove(&usage).map(|stored| stored.key);
        if let Some(key) = take(CrossSigningUsage::Master) {
            response.master_keys.insert(user.clone(), key);
        }
        if let Some(key) = take(CrossSigningUsage::SelfSigning) {
            response.self_signing_keys.insert(user.clone(), key);
        }
        if let Some(key) = take(CrossSigningUsage::UserSigning) {
            response.user_signing_keys.insert(user.clone(), key);
        }
        response.device_keys.insert(user, keys.devices);
    }
    Ok(Reply(response))
}

async fn claim(
    state: State,
    _: Session,
    Matrix(request): Matrix<claim_keys::Request>,
) -> Answer<claim_keys::Response> {
    let claimed = state
        .encryption
        .claim_keys(request.one_time_keys, request.timeout)
        .await?;
    let mut response = claim_keys::Response::new(claimed.keys);
    response.failures = failures(claimed.failures);
    Ok(Reply(response))
}

async fn changes(
    state: State,
    session: Session,
    Matrix(request): Matrix<get_key_changes::Request>,
) -> Answer<get_key_changes::Response> {
    let position = |token: &str| {
        token
            .parse::<luxchat_sync::SyncToken>()
            .map(|token| token.position)
            .map_err(|_| ApiError::invalid_param("Not a sync token"))
    };
    let (from, to) = (position(&request.from)?, position(&request.to)?);
    let changes = state
        .encryption
        .key_changes(&session.user_id, from, to)
        .await?;
    Ok(Reply(get_key_changes::Response::new(
        changes.changed,
        changes.left,
    )))
}

async fn upload_cross_signing(
    state: State,
    session: Session,
    Matrix(request): Matrix<upload_signing_keys::Request>,
) -> Answer<upload_signing_keys::Response> {
    let upload = CrossSigningUpload {
        master: request.master_key,
        self_signing: request.self_signing_key,
        user_signing: request.user_signing_key,
    };
    let publish = |authenticated| {
        state
            .encryption
            .upload_cross_signing(&session.user_id, upload.clone(), authenticated)
    };
    match publish(false).await {
        Err(EncryptionError::AuthenticationRequired) => {
            state
                .accounts
                .confirm_owner(&session, "cross-signing", request.auth.as_ref())
                .await?;
            publish(true).await?;
        }
        other => other?,
    }
    Ok(Reply(upload_signing_keys::Response::new()))
}

async fn upload_signatures(
    state: State,
    session: Session,
    Matrix(request): Matrix<upload_signatures::Request>,
) -> Answer<upload_signatures::Response> {
    let failures = state
        .encryption
        .upload_signatures(&session.user_id, request.signed_keys)
        .await?;
    let mut response = upload_signatures::Response::new();
    for (user, keys) in failures {
        let keys = keys
            .into_iter()
            .map(|(key, failure)| Ok((key, signature_failure(failure)?)))
            .collect::<Result<_, Error>>()?;
        response.failures.insert(user, keys);
    }
    Ok(Reply(response))
}

/// What clients need to know of a server that could not be asked: that it could not.
fn failures(failures: BTreeMap<OwnedServerName, FederationError>) -> BTreeMap<String, Value> {
    failures
        .into_iter()
        .map(|(server, error)| {
            tracing::info!(%server, %error, "a server could not be asked for keys");
            let why = json!({ "errcode": "M_UNKNOWN", "error": "The server could not be asked" });
            (server.to_string(), why)
        })
        .collect()
}

fn signature_failure(failure: SignatureFailure) -> Result<Failure, Error> {
    let errcode = match failure {
        SignatureFailure::UnknownKey => "M_NOT_FOUND",
        SignatureFailure::DifferentKey => "M_INVALID_PARAM",
        SignatureFailure::InvalidSignature => "M_INVALID_SIGNATURE",
    };
    // ruma lets nobody else make one.
    serde_json::from_value(json!({ "errcode": errcode, "error": failure.to_string() }))
        .map_err(|error| ApiError::internal(error).into())
}
