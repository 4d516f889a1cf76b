//! Asking other servers for their users' keys.

use std::{collections::BTreeMap, future::Future, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use luxchat_federation::Error as FederationError;
use luxchat_store::{
    CrossSigningKeys, CrossSigningUsage, Position, RemoteDeviceList, RemoteDevices,
    with_device_name,
};
use ruma::{
    OwnedDeviceId, OwnedUserId, ServerName, UserId,
    api::federation::{device::get_devices::v1 as get_devices, keys::get_keys::v1 as get_keys},
    encryption::{CrossSigningKey, DeviceKeys},
    serde::Raw,
};
use serde::Deserialize;

use crate::{
    Encryption, Result,
    signed_json::{SignedJson, cross_signing_key, device_keys},
};

/// Servers that one request of a client has asked at the same time.
pub(crate) const CONCURRENT_SERVERS: usize = 16;

/// Users whose keys one write caches: the writer has others to serve.
const USERS_PER_WRITE: usize = 50;

/// Device lists that are asked of one server at the same time.
const CONCURRENT_LISTS: usize = 4;

/// The longest name of a device that is kept, in bytes.
const MAX_NAME: usize = 512;

/// Which users of a server have to be asked for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Who shares no room with a user of this server: nobody tells of changes, so nothing is kept.
    pub(crate) strangers: Vec<OwnedUserId>,
    /// Who does: what is kept of them is not there, or no longer right.
    pub(crate) followed: Vec<OwnedUserId>,
}

/// Keys by user, as a server told them.
pub(crate) type Found = BTreeMap<OwnedUserId, RemoteDevices>;

impl Encryption {
    /// How long other servers may take, given what the client allows.
    pub(crate) fn remote_timeout(&self, asked: Option<Duration>) -> Duration {
        let config = self.config();
        asked
            .unwrap_or(config.remote_timeout)
            .min(config.max_remote_timeout)
    }

    /// What another server answers, unless that takes too long.
    pub(crate) async fn within<T>(
        timeout: Duration,
        server: &ServerName,
        answer: impl Future<Output = Result<T, FederationError>>,
    ) -> Result<T, FederationError> {
        tokio::time::timeout(timeout, answer)
            .await
            .unwrap_or_else(|_| Err(FederationError::Timeout(server.to_owned())))
    }

    /// Asks a server for users' keys, and keeps those of the users it tells of changes of. Followed users of whom
    /// somebody else's question has brought the keys meanwhile are not in the answer, but in the store.
    pub(crate) async fn fetch_remote_devices(
        &self,
        server: &ServerName,
        wanted: Wanted,
        timeout: Duration,
    ) -> Result<Found, FederationError> {
        Self::within(timeout, server, async {
            let mut found = self.keys_of(server, wanted.strangers).await?;
            if !wanted.followed.is_empty() {
                let _turn = self.turns().take(server).await;
                found.append(&mut self.fetch_followed(server, wanted.followed).await?);
            }
            Ok(found)
        })
        .await
    }

    async fn fetch_followed(
        &self,
        server: &ServerName,
        users: Vec<OwnedUserId>,
    ) -> Result<Found, FederationError> {
        let _open = self.questions().ask(&users);
        let (asked_at, missing, stale) = self
            .store()
            .read::<_, FederationError, _>(move |tx| {
                let (mut missing, mut stale) = (Vec::new(), Vec::new());
                for user in users {
                    let state = match tx.user_nid(&user)? {
                        Some(nid) => tx.remote_device_list(nid)?,
                        None => RemoteDeviceList::Missing,
                    };
                    match state {
                        RemoteDeviceList::Fresh => {}
                        RemoteDeviceList::Stale => stale.push(user),
                        RemoteDeviceList::Missing => missing.push(user),
                    }
                }
                Ok((tx.position()?, missing, stale))
            })
            .await?;
        let mut found = self.device_lists(server, stale).await?;
        found.append(&mut self.keys_of(server, missing).await?);
        self.cache(asked_at, &found).await?;
        Ok(found)
    }

    /// The device lists of users, with the version that later updates follow on.
    async fn device_lists(
        &self,
        server: &ServerName,
        users: Vec<OwnedUserId>,
    ) -> Result<Found, FederationError> {
        stream::iter(users)
            .map(|user| async move {
                let request = get_devices::Request::new(user.clone());
                match self.federation().request(server, request).await {
                    Ok(list) => Ok(Found::from([(user.clone(), from_list(&user, list))])),
                    // Some servers list devices without keys, which the endpoint does not provide for.
                    Err(FederationError::InvalidResponse { .. }) => {
                        self.keys_of(server, vec![user]).await
                    }
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(CONCURRENT_LISTS)
            .try_fold(Found::new(), |mut all, some| async move {
                all.extend(some);
                Ok(all)
            })
            .await
    }

    /// The keys of users.
    async fn keys_of(
        &self,
        server: &ServerName,
        users: Vec<OwnedUserId>,
    ) -> Result<Found, FederationError> {
        if users.is_empty() {
            return Ok(Found::new());
        }
        let all_devices = users
            .iter()
            .map(|user| (user.clone(), Vec::new()))
            .collect();
        let request = get_keys::Request::new(all_devices);
        let mut answer = self.federation().request(server, request).await?;
        Ok(users
            .into_iter()
            .map(|user| {
                let devices = answer.device_keys.remove(&user).unwrap_or_default();
                let devices = devices.into_iter().map(|(device, keys)| {
                    let name = name_in(&keys);
                    (device, keys, name)
                });
                let devices = RemoteDevices {
                    stream_id: None,
                    devices: checked_devices(&user, devices),
                    cross_signing: checked_cross_signing(
                        &user,
                        answer.master_keys.remove(&user),
                        answer.self_signing_keys.remove(&user),
                    ),
                };
                (user, devices)
            })
            .collect())
    }

    async fn cache(&self, asked_at: Position, found: &Found) -> Result<(), luxchat_store::Error> {
        let all: Vec<_> = found
            .iter()
            .map(|(user, devices)| (user.clone(), devices.clone()))
            .collect();
        for part in all.chunks(USERS_PER_WRITE) {
            let part = part.to_vec();
            self.store()
                .write(move |tx| {
                    for (user, devices) in &part {
                        if let Some(nid) = tx.user_nid(user)? {
                            tx.cache_remote_devices(nid, asked_at, devices)?;
                        }
                    }
                    Ok::<_, luxchat_store::Error>(())
                })
                .await?;
        }
        Ok(())
    }
}

/// The cross-signing keys that a user's server tells of, as far as they are what they must be.
pub(crate) fn checked_cross_signing(
    user: &UserId,
    master: Option<Raw<CrossSigningKey>>,
    self_signing: Option<Raw<CrossSigningKey>>,
) -> CrossSigningKeys {
    let mut keys = CrossSigningKeys::new();
    let check = |usage, key: Option<Raw<CrossSigningKey>>| {
        key.and_then(|key| cross_signing_key(user, usage, &key).ok())
    };
    let Some(master) = check(CrossSigningUsage::Master, master) else {
        return keys;
    };
    if let Some(self_signing) = check(CrossSigningUsage::SelfSigning, self_signing)
        && SignedJson::parse(self_signing.key.json())
            .is_ok_and(|key| key.is_signed_by(user, &master.key_id, &master.key_id))
    {
        keys.insert(CrossSigningUsage::SelfSigning, self_signing);
    }
    keys.insert(CrossSigningUsage::Master, master);
    keys
}

fn from_list(user: &UserId, list: get_devices::Response) -> RemoteDevices {
    let devices = list
        .devices
        .into_iter()
        .map(|device| (device.device_id, device.keys, device.device_display_name));
    RemoteDevices {
        stream_id: Some(list.stream_id),
        devices: checked_devices(user, devices),
        cross_signing: checked_cross_signing(user, list.master_key, list.self_signing_key),
    }
}

/// A server's word counts for its own users' devices, and each set of keys must be that of the device it is told for.
fn checked_devices(
    user: &UserId,
    devices: impl IntoIterator<Item = (OwnedDeviceId, Raw<DeviceKeys>, Option<String>)>,
) -> Vec<(OwnedDeviceId, Raw<DeviceKeys>)> {
    devices
        .into_iter()
        .filter_map(|(device, keys, name)| {
            let keys = device_keys(user, &device, &keys).ok()?;
            let keys = named(keys, name.as_deref()).ok()?;
            Some((device, keys))
        })
        .collect()
}

/// Keys with the name of their device, if it has one and it is no longer than names are.
pub(crate) fn named(keys: Raw<DeviceKeys>, name: Option<&str>) -> Result<Raw<DeviceKeys>> {
    match name {
        Some(name) if name.len() <= MAX_NAME => Ok(with_device_name(&keys, name)?),
        _ => Ok(keys),
    }
}

fn name_in(keys: &Raw<DeviceKeys>) -> Option<String> {
    #[derive(Deserialize)]
    struct Unsigned {
        device_display_name: Option<String>,
    }
    let unsigned = keys.get_field::<Unsigned>("unsigned").ok().flatten()?;
    unsigned.device_display_name
}
