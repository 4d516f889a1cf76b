//! What this server tells others of its users' devices and keys.

use std::collections::BTreeMap;

use luxchat_store::{CrossSigningKeys, Device, ReadTx, UserNid};
use ruma::{
    OwnedDeviceId, OwnedUserId, UInt, UserId, api::client::keys::claim_keys::v3::OneTimeKeys,
    encryption::DeviceKeys, serde::Raw,
};

use crate::{
    Encryption, Error, Result, UserKeys,
    claim::Claims,
    query::{Queries, name_devices},
};

/// A local user's devices for another server.
#[derive(Clone, Debug)]
pub struct DeviceList {
    /// The version of the list, which later updates follow on.
    pub stream_id: UInt,
    /// Identity keys of the devices that have any, with the device's name where others may know it.
    pub devices: Vec<(OwnedDeviceId, Raw<DeviceKeys>, Option<String>)>,
    /// The master key and the self-signing key.
    pub cross_signing: CrossSigningKeys,
}

impl Encryption {
    /// A local user's device list.
    /// [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1userdevicesuserid).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is no such local user.
    pub async fn device_list(&self, user: &UserId) -> Result<DeviceList> {
        if !self.is_local(user) {
            return Err(Error::NotFound("user"));
        }
        let (user, share_names) = (user.to_owned(), self.federation().shares_device_names());
        self.store()
            .read(move |tx| {
                let user = tx.user_nid(&user)?.ok_or(Error::NotFound("user"))?;
                let mut names: BTreeMap<_, _> = shared_names(tx, user, share_names)?
                    .into_iter()
                    .map(|device| (device.device_id, device.display_name))
                    .collect();
                let keys = tx.device_keys_seen_by(None, user)?.into_iter();
                let devices = keys.map(|(device, keys)| {
                    let name = names.remove(&device).flatten();
                    (device, keys, name)
                });
                Ok(DeviceList {
                    stream_id: tx.device_list_stream_id(user)?,
                    devices: devices.collect(),
                    cross_signing: tx.cross_signing_keys_seen_by(None, user)?,
                })
            })
            .await
    }

    /// Keys of local users for another server. Users that are none of this server's are left out.
    /// [Spec](https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysquery).
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] where it names too many users.
    pub async fn serve_key_query(
        &self,
        mut queries: Queries,
    ) -> Result<BTreeMap<OwnedUserId, UserKeys>> {
        self.check_size(queries.len())?;
        queries.retain(|user, _| self.is_local(user));
        let share_names = self.federation().shares_device_names();
        self.store()
            .read(move |tx| {
                let mut answers = BTreeMap::new();
                for (user, asked) in queries {
                    let Some(nid) = tx.user_nid(&user)? else {
                        continue;
                    };
                    let mut devices: BTreeMap<_, _> =
                        tx.device_keys_seen_by(None, nid)?.into_iter().collect();
                    if !asked.is_empty() {
                        devices.retain(|device, _| asked.contains(device));
                    }
                    let cross_signing = tx.cross_signing_keys_seen_by(None, nid)?;
                    let mut keys = UserKeys {
                        devices,
                        cross_signing,
                    };
                    name_devices(&mut keys, &shared_names(tx, nid, share_names)?)?;
                    answers.insert(user, keys);
                }
                Ok(answers)
            })
            .await
    }

    /// Claims one-time keys of local users' devices for another server.
    /// [Spec](https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysclaim).
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] where it names too many users.
    pub async fn serve_claim(
        &self,
        mut claims: Claims,
    ) -> Result<BTreeMap<OwnedUserId, OneTimeKeys>> {
        self.check_size(claims.len())?;
        claims.retain(|user, _| self.is_local(user));
        self.claim_local_keys(claims).await
    }

    fn check_size(&self, users: usize) -> Result<()> {
        let limit = self.config().users_per_query;
        if users > limit {
            return Err(Error::TooLarge(format!("a query may name {limit} users")));
        }
        Ok(())
    }
}

/// A user's devices, where other servers may know what they are called.
fn shared_names(tx: &ReadTx<'_>, user: UserNid, share: bool) -> Result<Vec<Device>> {
    Ok(if share { tx.devices(user)? } else { Vec::new() })
}
