//! What other servers tell of their users, in EDUs.

use luxchat_store::UserNid;
use ruma::{
    ServerName, UserId,
    api::federation::transactions::edu::{
        DeviceListUpdateContent, DirectDeviceContent, SigningKeyUpdateContent,
    },
};

use crate::{
    Encryption, Error, Result,
    remote::{checked_cross_signing, named},
    signed_json::device_keys,
    to_device::{Messages, deliver},
};

/// The longest message id that is remembered, in bytes. The spec allows for 32 code points.
const MAX_MESSAGE_ID: usize = 255;

impl Encryption {
    /// Takes in `m.direct_to_device`: messages for local devices, delivered once however often they come.
    /// [Spec](https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignUser`], [`Error::Invalid`].
    pub async fn receive_direct_to_device(
        &self,
        origin: &ServerName,
        content: DirectDeviceContent,
    ) -> Result<()> {
        check_origin(origin, &content.sender)?;
        if content.message_id.as_str().len() > MAX_MESSAGE_ID {
            return Err(Error::Invalid(format!(
                "a message id may have {MAX_MESSAGE_ID} bytes"
            )));
        }
        let mut local = content.messages;
        local.retain(|user, _| self.is_local(user));
        let messages = Messages::new(&content.sender, &content.ev_type, local)?;
        let origin = origin.to_owned();
        let message_id = content.message_id;
        self.store()
            .write(move |tx| {
                let server = tx.server_nid_or_insert(&origin)?;
                if tx.claim_received_to_device(server, &message_id)? {
                    deliver(tx, &messages)?;
                }
                Ok(())
            })
            .await
    }

    /// Takes in `m.device_list_update`: one device of a remote user changed.
    /// [Spec](https://spec.matrix.org/v1.19/server-server-api/#device-management).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignUser`], [`Error::Malformed`], [`Error::Invalid`].
    pub async fn receive_device_list_update(
        &self,
        origin: &ServerName,
        mut update: DeviceListUpdateContent,
    ) -> Result<()> {
        check_origin(origin, &update.user_id)?;
        let checked = check_keys(&mut update);
        let is_usable = checked.is_ok();
        let questions = self.questions().clone();
        self.store()
            .write(move |tx| {
                tx.note_change_of_missing_member(&update.user_id)?;
                if let Some(user) = known_user(tx, &update.user_id)? {
                    let is_asked_for = questions.are_open(&update.user_id);
                    if is_usable {
                        tx.receive_device_list_update(user, &update, is_asked_for)?;
                    } else {
                        tx.receive_unusable_device_list_update(user)?;
                    }
                }
                Ok::<_, Error>(())
            })
            .await?;
        checked
    }

    /// Takes in `m.signing_key_update`: a remote user's cross-signing keys changed.
    /// [Spec](https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption).
    ///
    /// # Errors
    ///
    /// [`Error::ForeignUser`].
    pub async fn receive_signing_key_update(
        &self,
        origin: &ServerName,
        update: SigningKeyUpdateContent,
    ) -> Result<()> {
        check_origin(origin, &update.user_id)?;
        let keys =
            checked_cross_signing(&update.user_id, update.master_key, update.self_signing_key);
        self.store()
            .write(move |tx| {
                tx.note_change_of_missing_member(&update.user_id)?;
                if let Some(user) = known_user(tx, &update.user_id)? {
                    tx.receive_cross_signing_keys(user, &keys)?;
                }
                Ok(())
            })
            .await
    }
}

/// Checks the keys of a device that changed, and names them after it.
fn check_keys(update: &mut DeviceListUpdateContent) -> Result<()> {
    if let Some(keys) = &update.keys {
        let keys = device_keys(&update.user_id, &update.device_id, keys)?;
        update.keys = Some(named(keys, update.device_display_name.as_deref())?);
    }
    Ok(())
}

fn check_origin(origin: &ServerName, user: &UserId) -> Result<()> {
    if user.server_name() == origin {
        Ok(())
    } else {
        Err(Error::ForeignUser {
            user: user.to_owned(),
            server: origin.to_owned(),
        })
    }
}

/// A user that no room has brought here concerns nobody.
fn known_user(tx: &luxchat_store::ReadTx<'_>, user: &UserId) -> Result<Option<UserNid>> {
    Ok(tx.user_nid(user)?)
}
