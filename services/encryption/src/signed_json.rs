//! Signed JSON objects: checked against what clients and servers say of them, and verified.
//! [Spec](https://spec.matrix.org/v1.19/appendices/#signing-json).

use luxchat_store::{CrossSigningUsage, StoredCrossSigningKey};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, DeviceId, SigningKeyAlgorithm, UserId,
    encryption::{CrossSigningKey, DeviceKeys},
    serde::{Base64, Raw},
    signatures::{to_canonical_json_string_for_signing, verify_canonical_json_bytes},
};
use serde_json::{Value, value::RawValue};

use crate::{Error, Result};

/// The largest key object that is taken in, in bytes.
const MAX_KEY: usize = 65_536;

/// A signed object.
pub(crate) struct SignedJson {
    object: CanonicalJsonObject,
    /// What the signatures are over.
    signed: String,
}

impl SignedJson {
    pub(crate) fn parse(json: &RawValue) -> Result<Self> {
        let object: CanonicalJsonObject = serde_json::from_str(json.get())
            .map_err(|error| Error::Malformed(format!("a signed key: {error}")))?;
        let signed = to_canonical_json_string_for_signing(&object)
            .map_err(|error| Error::Malformed(format!("a signed key: {error}")))?;
        Ok(Self { object, signed })
    }

    /// Whether both say the same, whoever signed them.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        self.signed == other.signed
    }

    /// The signatures of a user by key id.
    pub(crate) fn signatures_of(&self, user: &UserId) -> impl Iterator<Item = (&str, &str)> {
        let by_user = match self.object.get("signatures") {
            Some(CanonicalJsonValue::Object(all)) => all.get(user.as_str()),
            _ => None,
        };
        let by_key = match by_user {
            Some(CanonicalJsonValue::Object(by_key)) => Some(by_key),
            _ => None,
        };
        by_key
            .into_iter()
            .flatten()
            .filter_map(|(id, signature)| Some((id.as_str(), signature.as_str()?)))
    }

    /// Whether `user` signed the object with the ed25519 key of this name and public part.
    pub(crate) fn is_signed_by(&self, user: &UserId, key_name: &str, public_key: &str) -> bool {
        self.signatures_of(user)
            .filter(|(id, _)| id.strip_prefix("ed25519:") == Some(key_name))
            .any(|(_, signature)| self.verifies(public_key, signature))
    }

    /// Whether a signature over the object is by this ed25519 key. Both are base64.
    pub(crate) fn verifies(&self, public_key: &str, signature: &str) -> bool {
        let (Ok(public_key), Ok(signature)) = (
            Base64::<ruma::serde::base64::Standard>::parse(public_key),
            Base64::<ruma::serde::base64::Standard>::parse(signature),
        ) else {
            return false;
        };
        verify_canonical_json_bytes(
            &SigningKeyAlgorithm::Ed25519,
            public_key.as_bytes(),
            signature.as_bytes(),
            self.signed.as_bytes(),
        )
        .is_ok()
    }
}

/// A device's identity keys in the form they are kept in, without `unsigned`. They must be those of this very device.
pub(crate) fn device_keys(
    user: &UserId,
    device: &DeviceId,
    raw: &Raw<DeviceKeys>,
) -> Result<Raw<DeviceKeys>> {
    let keys: DeviceKeys = raw
        .deserialize()
        .map_err(|error| Error::Malformed(format!("device_keys: {error}")))?;
    if keys.user_id != user || keys.device_id != device {
        return Err(Error::Invalid(
            "device_keys: the user and device must be those of the session".to_owned(),
        ));
    }
    if let Some(other) = keys.keys.keys().find(|id| id.key_name() != device) {
        return Err(Error::Invalid(format!(
            "device_keys: {other} is not named after the device"
        )));
    }
    normalised(raw)
}

/// A cross-signing key in the form it is kept in. It must be the user's, for this usage, and exactly one ed25519 key
/// named by its public part.
pub(crate) fn cross_signing_key(
    user: &UserId,
    usage: CrossSigningUsage,
    raw: &Raw<CrossSigningKey>,
) -> Result<StoredCrossSigningKey> {
    let invalid = |why: &str| Error::Invalid(format!("{} key: {why}", usage.as_str()));
    let key: CrossSigningKey = raw
        .deserialize()
        .map_err(|error| Error::Malformed(format!("{} key: {error}", usage.as_str())))?;
    if key.user_id != user {
        return Err(invalid("it names another user"));
    }
    if !key
        .usage
        .iter()
        .any(|named| named.as_str() == usage.as_str())
    {
        return Err(invalid("its usage says otherwise"));
    }
    let mut keys = key.keys.iter();
    let (Some((id, public_key)), None) = (keys.next(), keys.next()) else {
        return Err(invalid("it must have exactly one key"));
    };
    if id.algorithm() != SigningKeyAlgorithm::Ed25519 || id.key_name().as_str() != public_key {
        return Err(invalid(
            "it must be an ed25519 key named by its public part",
        ));
    }
    Ok(StoredCrossSigningKey {
        key_id: public_key.clone(),
        key: normalised(raw)?,
    })
}

/// The public ed25519 key among a device's identity keys.
pub(crate) fn device_signing_key(device: &DeviceId, keys: &Raw<DeviceKeys>) -> Option<String> {
    let keys: DeviceKeys = keys.deserialize().ok()?;
    let name = format!("ed25519:{device}");
    keys.keys
        .into_iter()
        .find_map(|(id, key)| (id.as_str() == name).then_some(key))
}

/// An object without whitespace and without `unsigned`, its fields in order: equal content makes equal bytes.
pub(crate) fn normalised<T>(raw: &Raw<T>) -> Result<Raw<T>> {
    let malformed = |error: serde_json::Error| Error::Malformed(error.to_string());
    let json = raw.json().get();
    if json.len() > MAX_KEY {
        return Err(Error::TooLarge(format!("a key exceeds {MAX_KEY} bytes")));
    }
    let mut value: Value = serde_json::from_str(json).map_err(malformed)?;
    if let Value::Object(object) = &mut value {
        object.remove("unsigned");
    }
    value.sort_all_objects();
    let json = serde_json::value::to_raw_value(&value).map_err(malformed)?;
    Ok(Raw::from_json(json))
}
