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
    session.check_device()?;
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

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use crate::testing::{PASSWORD, Server};

    const DEVICE_SIGNING: &str = "/_matrix/client/v3/keys/device_signing/upload";
    const ALICE: &str = "@alice:example.org";

    fn one_time_key() -> Value {
        let signatures = json!({ ALICE: { "ed25519:PHONE": "c2lnbmF0dXJl" } });
        json!({ "key": "a2V5", "signatures": signatures })
    }

    fn device_keys() -> Value {
        json!({
            "user_id": ALICE,
            "device_id": "PHONE",
            "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
            "keys": { "ed25519:PHONE": "ZWQyNTUxOQ", "curve25519:PHONE": "Y3VydmU" },
            "signatures": { ALICE: { "ed25519:PHONE": "c2lnbmF0dXJl" } },
        })
    }

    fn master_key(public_key: &str) -> Value {
        json!({
            "user_id": ALICE,
            "usage": ["master"],
            "keys": { format!("ed25519:{public_key}"): public_key },
        })
    }

    /// Alice on her phone.
    async fn alice(server: &Server) -> String {
        server.user("alice").await;
        let login = server
            .log_in("alice", json!({ "device_id": "PHONE" }))
            .await;
        login.ok()["access_token"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn keys_are_uploaded_queried_and_claimed() {
        let server = Server::new();
        let alice = alice(&server).await;
        let bob = server.user("bob").await;
        let upload = json!({
            "device_keys": device_keys(),
            "one_time_keys": { "signed_curve25519:AAAA": one_time_key() },
        });
        let path = "/_matrix/client/v3/keys/upload";
        let counts = server.post(path, &alice, upload).await.ok();
        assert_eq!(
            counts,
            json!({ "one_time_key_counts": { "signed_curve25519": 1 } })
        );
        let conflict = json!({
            "one_time_keys": { "signed_curve25519:AAAA": { "key": "b3RoZXI", "signatures": {
                ALICE: { "ed25519:PHONE": "c2lnbmF0dXJl" }
            } } },
        });
        let refused = server.post(path, &alice, conflict).await;
        assert_eq!(refused.error(), (400, "M_INVALID_PARAM"));

        let query = json!({ "device_keys": { ALICE: [] } });
        let path = "/_matrix/client/v3/keys/query";
        let mut told = server.post(path, &bob, query).await.ok();
        let mut device = told["device_keys"][ALICE]["PHONE"].take();
        device.as_object_mut().unwrap().remove("unsigned");
        assert_eq!(device, device_keys());

        let claim = json!({ "one_time_keys": { ALICE: { "PHONE": "signed_curve25519" } } });
        let path = "/_matrix/client/v3/keys/claim";
        let claimed = server.post(path, &bob, claim.clone()).await.ok();
        let keys = &claimed["one_time_keys"][ALICE]["PHONE"];
        assert_eq!(*keys, json!({ "signed_curve25519:AAAA": one_time_key() }));
        let nothing = server.post(path, &bob, claim).await.ok();
        assert_eq!(nothing, json!({ "one_time_keys": {} }));
    }

    #[tokio::test]
    async fn servers_that_cannot_be_asked_are_failures() {
        let server = Server::new();
        let alice = alice(&server).await;
        let query = json!({ "device_keys": { "@carol:elsewhere.example": [] } });
        let path = "/_matrix/client/v3/keys/query";
        let told = server.post(path, &alice, query).await.ok();
        assert!(told["failures"]["elsewhere.example"].is_object());
    }

    #[tokio::test]
    async fn replacing_cross_signing_keys_takes_the_password() {
        let server = Server::new();
        let alice = alice(&server).await;
        let upload = |key: &str| json!({ "master_key": master_key(key) });
        for _ in 0..2 {
            server
                .post(DEVICE_SIGNING, &alice, upload("Zmlyc3Q"))
                .await
                .ok();
        }
        let asked = server
            .post(DEVICE_SIGNING, &alice, upload("c2Vjb25k"))
            .await;
        assert_eq!(asked.status, 401);
        assert_eq!(
            asked.body["flows"][0]["stages"],
            json!(["m.login.password"])
        );

        let mut proven = upload("c2Vjb25k");
        proven["auth"] = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": "alice" },
            "password": PASSWORD,
            "session": asked.body["session"],
        });
        server.post(DEVICE_SIGNING, &alice, proven).await.ok();
        let query = json!({ "device_keys": { ALICE: [] } });
        let path = "/_matrix/client/v3/keys/query";
        let told = server.post(path, &alice, query).await.ok();
        assert_eq!(told["master_keys"][ALICE], master_key("c2Vjb25k"));
    }

    #[tokio::test]
    async fn what_is_wrong_with_cross_signing_keys_is_said() {
        let server = Server::new();
        let alice = alice(&server).await;
        let mut unsigned = master_key("a2V5");
        unsigned["usage"] = json!(["self_signing"]);
        let alone = json!({ "self_signing_key": unsigned });
        let refused = server.post(DEVICE_SIGNING, &alice, alone.clone()).await;
        assert_eq!(refused.error(), (400, "M_MISSING_PARAM"));
        let mut both = alone;
        both["master_key"] = master_key("bWFzdGVy");
        let refused = server.post(DEVICE_SIGNING, &alice, both).await;
        assert_eq!(refused.error(), (400, "M_INVALID_SIGNATURE"));

        let path = "/_matrix/client/v3/keys/signatures/upload";
        let signed = json!({ ALICE: { "GONE": device_keys() } });
        let failures = server.post(path, &alice, signed).await.ok();
        assert_eq!(
            failures["failures"][ALICE]["GONE"]["errcode"],
            "M_NOT_FOUND"
        );
    }

    #[tokio::test]
    async fn changes_are_asked_for_between_sync_tokens() {
        let server = Server::new();
        let alice = alice(&server).await;
        let path = "/_matrix/client/v3/keys/changes";
        let changes = server.get(&format!("{path}?from=0&to=9"), &alice).await;
        assert_eq!(changes.ok(), json!({ "changed": [], "left": [] }));
        let refused = server
            .get(&format!("{path}?from=then&to=now"), &alice)
            .await;
        assert_eq!(refused.error(), (400, "M_INVALID_PARAM"));
        let nobody = server.send(Method::GET, path, None, Value::Null).await;
        assert_eq!(nobody.error(), (401, "M_MISSING_TOKEN"));
    }
}
