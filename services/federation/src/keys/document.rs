//! Key documents: what a server publishes about its own keys.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#publishing-keys>

use std::time::Duration;

use luxchat_store::{ServerKey, ServerKeyDocument};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedServerSigningKeyId,
    ServerName, UInt,
    api::federation::discovery::{OldVerifyKey, ServerSigningKeys, VerifyKey},
    canonical_json::to_canonical_value,
    serde::Raw,
    signatures::{PublicKeyMap, PublicKeySet, sign_json, verify_json},
};

use crate::{Error, Identity, Membership, Result};

/// The largest key document, in bytes.
const MAX_DOCUMENT: usize = 64 * 1024;

/// How long others may rely on this server's keys before they ask again.
const OWN_VALIDITY: Duration = Duration::from_hours(24);

/// No key is trusted for longer than this without being asked for again.
pub(crate) const MAX_VALIDITY: Duration = Duration::from_hours(7 * 24);

/// A key document whose signatures hold.
#[derive(Clone, Debug)]
pub(crate) struct VerifiedDocument {
    pub(crate) stored: ServerKeyDocument,
    pub(crate) keys: Vec<(OwnedServerSigningKeyId, ServerKey)>,
}

/// This server's own document, signed.
pub(crate) fn own(
    identity: &Identity,
    membership: &Membership,
    now_ms: u64,
) -> Result<Raw<ServerSigningKeys>> {
    let valid_until = UInt::new_saturating(now_ms.saturating_add(millis(OWN_VALIDITY)));
    let mut document = ServerSigningKeys::new(
        identity.server_name().to_owned(),
        MilliSecondsSinceUnixEpoch(valid_until),
    );
    document.verify_keys.insert(
        identity.signing_key_id().clone(),
        VerifyKey::new(identity.public_key()),
    );
    for (id, listed) in membership.signing_keys(identity.server_name()) {
        if let Some(expired) = listed.expired {
            let old = OldVerifyKey::new(expired, listed.key);
            document.old_verify_keys.insert(id, old);
        }
    }
    let object = match to_canonical_value(&document) {
        Ok(CanonicalJsonValue::Object(object)) => object,
        Ok(_) => return Err(Error::Config("a key document is an object".to_owned())),
        Err(error) => return Err(Error::Config(format!("the key document: {error}"))),
    };
    signed(identity, object)
}

/// Another server's document with this server's signature added: a notary's answer.
pub(crate) fn countersigned(identity: &Identity, json: &str) -> Result<Raw<ServerSigningKeys>> {
    let object = serde_json::from_str(json)
        .map_err(|error| luxchat_store::Error::invalid("key document", error))?;
    signed(identity, object)
}

/// Reads a document that claims to be by `server` and makes sure that each key in use signed it.
pub(crate) fn verify(
    server: &ServerName,
    raw: &Raw<ServerSigningKeys>,
    now_ms: u64,
) -> Result<VerifiedDocument> {
    let fault = |why: &dyn std::fmt::Display| Error::Signature(format!("keys of {server}: {why}"));
    let json = raw.json().get();
    if json.len() > MAX_DOCUMENT {
        return Err(fault(&"the document is too large"));
    }
    let mut object: CanonicalJsonObject = serde_json::from_str(json).map_err(|e| fault(&e))?;
    let document: ServerSigningKeys = raw.deserialize().map_err(|error| fault(&error))?;
    if document.server_name != server {
        return Err(fault(&"the document is another server's"));
    }
    keep_signatures_of(server, &mut object);
    check_each_signature(server, &document, &object).map_err(|why| fault(&why))?;

    let valid_until_ts = u64::from(document.valid_until_ts.0);
    let capped = valid_until_ts.min(now_ms.saturating_add(millis(MAX_VALIDITY)));
    let in_use = document.verify_keys.into_iter().map(|(id, key)| {
        let key = ServerKey {
            public_key: key.key.into_inner(),
            valid_until_ts: capped,
            is_old: false,
        };
        (id, key)
    });
    let old = document.old_verify_keys.into_iter().map(|(id, key)| {
        let expired_ts = u64::from(key.expired_ts.0);
        let key = ServerKey {
            public_key: key.key.into_inner(),
            valid_until_ts: expired_ts.min(now_ms),
            is_old: true,
        };
        (id, key)
    });
    Ok(VerifiedDocument {
        keys: in_use.chain(old).collect(),
        stored: ServerKeyDocument {
            json: json.to_owned(),
            valid_until_ts,
            fetched_ts: now_ms,
        },
    })
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn signed(identity: &Identity, mut object: CanonicalJsonObject) -> Result<Raw<ServerSigningKeys>> {
    let name = identity.server_name().as_str();
    sign_json(name, identity.signing_key(), &mut object)
        .map_err(|error| Error::Config(format!("the key document cannot be signed: {error}")))?;
    let json = serde_json::value::to_raw_value(&object)
        .map_err(|error| Error::Config(format!("the key document cannot be written: {error}")))?;
    Ok(Raw::from_json(json))
}

/// Notaries add their signatures; only the server's own say anything about its keys.
fn keep_signatures_of(server: &ServerName, object: &mut CanonicalJsonObject) {
    if let Some(CanonicalJsonValue::Object(signatures)) = object.get_mut("signatures") {
        signatures.retain(|entity, _| entity == server.as_str());
    }
}

fn check_each_signature(
    server: &ServerName,
    document: &ServerSigningKeys,
    object: &CanonicalJsonObject,
) -> Result<(), String> {
    if document.verify_keys.is_empty() {
        return Err("the document has no keys".to_owned());
    }
    let signatures = object
        .get("signatures")
        .and_then(CanonicalJsonValue::as_object)
        .and_then(|by_server| by_server.get(server.as_str()))
        .and_then(CanonicalJsonValue::as_object)
        .ok_or("the server did not sign them")?;
    for (id, key) in &document.verify_keys {
        if !signatures.contains_key(id.as_str()) {
            return Err(format!("key {id} did not sign them"));
        }
        let key = PublicKeySet::from([(id.to_string(), key.key.clone())]);
        let map = PublicKeyMap::from([(server.to_string(), key)]);
        verify_json(&map, object).map_err(|error| format!("key {id}: {error}"))?;
    }
    Ok(())
}
