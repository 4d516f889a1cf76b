use luxchat_store::{CrossSigningKeys, CrossSigningUsage, StoredCrossSigningKey, UserNid, WriteTx};
use ruma::{UserId, encryption::CrossSigningKey, serde::Raw};

use crate::{
    Encryption, Error, Result,
    encryption::local_user,
    signed_json::{SignedJson, cross_signing_key},
};

/// Cross-signing keys that a user publishes.
#[derive(Clone, Debug, Default)]
pub struct CrossSigningUpload {
    /// Signs the other two.
    pub master: Option<Raw<CrossSigningKey>>,
    /// Signs the user's devices.
    pub self_signing: Option<Raw<CrossSigningKey>>,
    /// Signs other users' master keys.
    pub user_signing: Option<Raw<CrossSigningKey>>,
}

impl Encryption {
    /// Publishes cross-signing keys. Without user-interactive authentication a user can publish their first ones, or
    /// those again that are there.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload).
    ///
    /// # Errors
    ///
    /// [`Error::AuthenticationRequired`]: authenticate the user, then call again with `authenticated`. Otherwise
    /// [`Error::Malformed`], [`Error::Invalid`], [`Error::NoMasterKey`], [`Error::InvalidSignature`], [`Error::KeyIdInUse`].
    pub async fn upload_cross_signing(
        &self,
        user: &UserId,
        upload: CrossSigningUpload,
        authenticated: bool,
    ) -> Result<()> {
        let mut new = CrossSigningKeys::new();
        for (usage, key) in [
            (CrossSigningUsage::Master, upload.master),
            (CrossSigningUsage::SelfSigning, upload.self_signing),
            (CrossSigningUsage::UserSigning, upload.user_signing),
        ] {
            if let Some(key) = key {
                new.insert(usage, cross_signing_key(user, usage, &key)?);
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let user = user.to_owned();
        self.store()
            .write(move |tx| publish(tx, &user, &new, authenticated))
            .await
    }
}

/// Decides and writes in one go, so that nothing changes in between. The few signatures take microseconds, once in an
/// account's life.
fn publish(
    tx: &mut WriteTx<'_>,
    user_id: &UserId,
    new: &CrossSigningKeys,
    authenticated: bool,
) -> Result<()> {
    let user = local_user(tx, user_id)?;
    let old = tx.cross_signing_keys(user)?;
    let master = new
        .get(&CrossSigningUsage::Master)
        .or_else(|| old.get(&CrossSigningUsage::Master))
        .ok_or(Error::NoMasterKey)?;
    for (usage, key) in new {
        if *usage != CrossSigningUsage::Master
            && !SignedJson::parse(key.key.json())?.is_signed_by(
                user_id,
                &master.key_id,
                &master.key_id,
            )
        {
            return Err(Error::InvalidSignature(format!(
                "the {} key is not signed by the master key",
                usage.as_str()
            )));
        }
        if tx.device_keys(user, key.key_id.as_str().into())?.is_some() {
            return Err(Error::KeyIdInUse);
        }
    }
    if is_unchanged(&old, new) {
        return Ok(());
    }
    if old.contains_key(&CrossSigningUsage::Master) && !authenticated {
        return Err(Error::AuthenticationRequired);
    }
    replace(tx, user, &old, new)
}

/// Whether the upload brings no key that is not there already.
fn is_unchanged(old: &CrossSigningKeys, new: &CrossSigningKeys) -> bool {
    new.iter().all(|(usage, key)| {
        old.get(usage)
            .is_some_and(|old: &StoredCrossSigningKey| old.key_id == key.key_id)
    })
}

fn replace(
    tx: &mut WriteTx<'_>,
    user: UserNid,
    old: &CrossSigningKeys,
    new: &CrossSigningKeys,
) -> Result<()> {
    let master_of = |keys: &CrossSigningKeys| {
        keys.get(&CrossSigningUsage::Master)
            .map(|key| key.key_id.clone())
    };
    let new_master = master_of(new).filter(|master| master_of(old).as_ref() != Some(master));
    for usage in CrossSigningUsage::ALL {
        match new.get(&usage) {
            Some(key) => tx.set_cross_signing_key(user, usage, key)?,
            // What the old master key signed is worth nothing under the new one.
            None if new_master.is_some() => tx.remove_cross_signing_key(user, usage)?,
            None => {}
        }
    }
    tx.signing_keys_changed(user)?;
    Ok(())
}
