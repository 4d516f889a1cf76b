//! What this server tells others of its users' devices and keys.

use std::collections::BTreeMap;

use luxchat_store::CrossSigningKeys;
use ruma::{
    OwnedDeviceId, OwnedUserId, UInt, UserId, api::client::keys::claim_keys::v3::OneTimeKeys,
    encryption::DeviceKeys, serde::Raw,
};

use crate::{Encryption, Error, Result, UserKeys, claim::Claims, query::Queries};

/// A local user's devices for another server.
#[derive(Clone, Debug)]
pub struct DeviceList {
    /// The version of the list, which later updates follow on.
    pub stream_id: UInt,
    /// Identity keys of the devices that have any. Their names stay here.
    pub devices: Vec<(OwnedDeviceId, Raw<DeviceKeys>)>,
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
        let user = user.to_owned();
        self.store()
            .read(move |tx| {
                let user = tx.user_nid(&user)?.ok_or(Error::NotFound("user"))?;
                Ok(DeviceList {
                    stream_id: tx.device_list_stream_id(user)?,
                    devices: tx.device_keys_seen_by(None, user)?,
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
                    answers.insert(
                        user,
                        UserKeys {
                            devices,
                            cross_signing,
                        },
                    );
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
