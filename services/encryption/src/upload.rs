use std::collections::{BTreeMap, BTreeSet};

use luxchat_store::OneTimeKeyUpload;
use ruma::{
    DeviceId, OneTimeKeyAlgorithm, OwnedOneTimeKeyId, UInt, UserId,
    encryption::{DeviceKeys, OneTimeKey},
    serde::Raw,
};

use crate::{
    Encryption, Error, Result,
    encryption::local_user,
    signed_json::{device_keys, normalised},
};

/// The largest one-time or fallback key, in bytes.
const MAX_ONE_TIME_KEY: usize = 8_192;

/// What a device publishes.
#[derive(Clone, Debug, Default)]
pub struct KeyUpload {
    /// Its identity keys.
    pub device_keys: Option<Raw<DeviceKeys>>,
    /// Keys that are given out once each.
    pub one_time_keys: BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>,
    /// What is given out when those have run out: one for each algorithm.
    pub fallback_keys: BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>,
}

impl Encryption {
    /// Publishes keys of a device, all or none. Answers how many one-time keys it has, by algorithm.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload).
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::Invalid`], [`Error::OneTimeKeyExists`], [`Error::TooLarge`].
    pub async fn upload_keys(
        &self,
        user: &UserId,
        device: &DeviceId,
        upload: KeyUpload,
    ) -> Result<BTreeMap<OneTimeKeyAlgorithm, UInt>> {
        let identity = upload
            .device_keys
            .as_ref()
            .map(|keys| device_keys(user, device, keys))
            .transpose()?;
        let one_time_keys = one_time_keys(user, device, &upload.one_time_keys)?;
        let fallback_keys = one_time_keys_per_algorithm(user, device, &upload.fallback_keys)?;
        let limit = self.config().one_time_keys_per_device;
        let (user, device) = (user.to_owned(), device.to_owned());
        if identity.is_none() && one_time_keys.is_empty() && fallback_keys.is_empty() {
            // Clients ask for their counts this way.
            return self
                .store()
                .read(move |tx| Ok(tx.one_time_key_counts(local_user(tx, &user)?, &device)?))
                .await;
        }
        self.store()
            .write(move |tx| {
                let user = local_user(tx, &user)?;
                if let Some(keys) = &identity {
                    tx.set_device_keys(user, &device, keys)?;
                }
                match tx.add_one_time_keys(user, &device, &one_time_keys, limit)? {
                    OneTimeKeyUpload::Stored => {}
                    OneTimeKeyUpload::Conflict(id) => return Err(Error::OneTimeKeyExists(id)),
                    OneTimeKeyUpload::TooMany => {
                        return Err(Error::TooLarge(format!(
                            "a device may have up to {limit} one-time keys"
                        )));
                    }
                }
                tx.set_fallback_keys(user, &device, &fallback_keys)?;
                Ok(tx.one_time_key_counts(user, &device)?)
            })
            .await
    }
}

fn one_time_keys_per_algorithm(
    user: &UserId,
    device: &DeviceId,
    keys: &BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>,
) -> Result<BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>> {
    let algorithms: BTreeSet<String> = keys
        .keys()
        .map(|id| id.algorithm().as_str().to_owned())
        .collect();
    if algorithms.len() < keys.len() {
        return Err(Error::Invalid(
            "fallback_keys: there can be one key for each algorithm".to_owned(),
        ));
    }
    one_time_keys(user, device, keys)
}

fn one_time_keys(
    user: &UserId,
    device: &DeviceId,
    keys: &BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>,
) -> Result<BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>> {
    keys.iter()
        .map(|(id, key)| {
            one_time_key(user, device, id, key)?;
            Ok((id.clone(), normalised(key)?))
        })
        .collect()
}

fn one_time_key(
    user: &UserId,
    device: &DeviceId,
    id: &OwnedOneTimeKeyId,
    key: &Raw<OneTimeKey>,
) -> Result<()> {
    if key.json().get().len() > MAX_ONE_TIME_KEY {
        return Err(Error::TooLarge(format!(
            "{id} exceeds {MAX_ONE_TIME_KEY} bytes"
        )));
    }
    let parsed = key
        .deserialize()
        .map_err(|error| Error::Malformed(format!("{id}: {error}")))?;
    if id.algorithm() != OneTimeKeyAlgorithm::SignedCurve25519 {
        return Ok(());
    }
    // Who claims the key verifies the signature against the device's identity; here it only has to be there.
    let OneTimeKey::SignedKey(signed) = parsed else {
        return Err(Error::Invalid(format!("{id} must be a signed key")));
    };
    let signer = format!("ed25519:{device}");
    let is_signed = signed
        .signatures
        .get(user)
        .is_some_and(|by_key| by_key.keys().any(|key| key.as_str() == signer));
    if is_signed {
        Ok(())
    } else {
        Err(Error::Invalid(format!("{id} is not signed by its device")))
    }
}
