use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use luxchat_federation::Error as FederationError;
use luxchat_store::{
    CrossSigningKeys, Device, ReadTx, RemoteDeviceList, RemoteDevices, UserNid, with_device_name,
    with_signatures,
};
use ruma::{
    OwnedDeviceId, OwnedServerName, OwnedUserId, UserId, encryption::DeviceKeys, serde::Raw,
};

use crate::{
    Encryption, Error, Result,
    encryption::local_user,
    remote::{CONCURRENT_SERVERS, Found, Wanted},
};

/// Whose devices are asked for; an empty list means all of the user's.
pub(crate) type Queries = BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>;

/// A user's keys, as much of them as the one who asks may see.
#[derive(Clone, Debug, Default)]
pub struct UserKeys {
    /// Identity keys of devices. Those of local users bear the devices' names in `unsigned`, for local users.
    pub devices: BTreeMap<OwnedDeviceId, Raw<DeviceKeys>>,
    /// Cross-signing keys.
    pub cross_signing: CrossSigningKeys,
}

/// What a query brought.
#[derive(Debug, Default)]
pub struct QueriedKeys {
    /// Keys by user. A user that nobody knows of is missing.
    pub users: BTreeMap<OwnedUserId, UserKeys>,
    /// The servers that could not be asked.
    pub failures: BTreeMap<OwnedServerName, FederationError>,
}

impl Encryption {
    /// The current devices and identity keys of users, as `viewer` may see them.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery).
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] where it names too many users.
    pub async fn query_keys(
        &self,
        viewer: &UserId,
        queries: Queries,
        timeout: Option<Duration>,
    ) -> Result<QueriedKeys> {
        let limit = self.config().users_per_query;
        if queries.len() > limit {
            return Err(Error::TooLarge(format!("a query may name {limit} users")));
        }
        let server_name = self.store().server_name().to_owned();
        let (mut queried, missing) = {
            let (viewer, queries) = (viewer.to_owned(), queries.clone());
            self.store()
                .read(move |tx| stored_keys(tx, &server_name, &viewer, &queries))
                .await?
        };
        if !missing.is_empty() {
            let (found, followed) = self.fetch_missing(missing, timeout, &mut queried).await;
            let viewer = viewer.to_owned();
            let mut fetched = self
                .store()
                .read(move |tx| fetched_keys(tx, &viewer, found, followed))
                .await?;
            queried.users.append(&mut fetched);
        }
        for (user, keys) in &mut queried.users {
            if let Some(asked) = queries.get(user).filter(|asked| !asked.is_empty()) {
                keys.devices.retain(|device, _| asked.contains(device));
            }
        }
        Ok(queried)
    }

    /// Asks other servers, all at the same time. Their failures go into `queried`. Answers what they told, and which
    /// users may be in the store by now.
    async fn fetch_missing(
        &self,
        missing: BTreeMap<OwnedServerName, Wanted>,
        timeout: Option<Duration>,
        queried: &mut QueriedKeys,
    ) -> (Found, Vec<OwnedUserId>) {
        let timeout = self.remote_timeout(timeout);
        let mut answers = stream::iter(missing)
            .map(|(server, wanted)| async move {
                let followed = wanted.followed.clone();
                let answer = self.fetch_remote_devices(&server, wanted, timeout).await;
                (server, followed, answer)
            })
            .buffer_unordered(CONCURRENT_SERVERS);
        let (mut found, mut followed) = (Found::new(), Vec::new());
        while let Some((server, of_server, answer)) = answers.next().await {
            match answer {
                Ok(devices) => {
                    found.extend(devices);
                    followed.extend(of_server);
                }
                Err(error) => {
                    queried.failures.insert(server, error);
                }
            }
        }
        (found, followed)
    }
}

/// What the store knows of the users, and which of them other servers have to be asked for.
fn stored_keys(
    tx: &ReadTx<'_>,
    server_name: &ruma::ServerName,
    viewer: &UserId,
    queries: &Queries,
) -> Result<(QueriedKeys, BTreeMap<OwnedServerName, Wanted>)> {
    let viewer = local_user(tx, viewer)?;
    let mut queried = QueriedKeys::default();
    let mut missing: BTreeMap<OwnedServerName, Wanted> = BTreeMap::new();
    for user in queries.keys() {
        let nid = tx.user_nid(user)?;
        let is_local = user.server_name() == server_name;
        match nid {
            Some(nid) if is_local => {
                let mut keys = known_keys(tx, viewer, nid)?;
                name_devices(&mut keys, &tx.devices(nid)?)?;
                queried.users.insert(user.clone(), keys);
            }
            None if is_local => {}
            Some(nid) if tx.remote_device_list(nid)? == RemoteDeviceList::Fresh => {
                let keys = known_keys(tx, viewer, nid)?;
                queried.users.insert(user.clone(), keys);
            }
            _ => {
                let wanted = missing.entry(user.server_name().to_owned()).or_default();
                match nid {
                    Some(nid) if tx.shares_room_with_us(nid)? => wanted.followed.push(user.clone()),
                    _ => wanted.strangers.push(user.clone()),
                }
            }
        }
    }
    Ok((queried, missing))
}

/// Keys as other servers told them just now, and of followed users that others asked for at the same time.
fn fetched_keys(
    tx: &ReadTx<'_>,
    viewer: &UserId,
    found: Found,
    followed: Vec<OwnedUserId>,
) -> Result<BTreeMap<OwnedUserId, UserKeys>> {
    let viewer = local_user(tx, viewer)?;
    let mut keys = BTreeMap::new();
    for user in followed {
        if !found.contains_key(&user)
            && let Some(nid) = tx.user_nid(&user)?
        {
            keys.insert(user, known_keys(tx, viewer, nid)?);
        }
    }
    for (user, told) in found {
        let seen = seen_by(tx, viewer, &user, told)?;
        keys.insert(user, seen);
    }
    Ok(keys)
}

fn known_keys(tx: &ReadTx<'_>, viewer: UserNid, user: UserNid) -> Result<UserKeys> {
    Ok(UserKeys {
        devices: tx
            .device_keys_seen_by(Some(viewer), user)?
            .into_iter()
            .collect(),
        cross_signing: tx.cross_signing_keys_seen_by(Some(viewer), user)?,
    })
}

/// Keys as another server told them, with the viewer's own signatures over them.
fn seen_by(
    tx: &ReadTx<'_>,
    viewer: UserNid,
    user: &UserId,
    told: RemoteDevices,
) -> Result<UserKeys> {
    let mut keys = UserKeys {
        devices: told.devices.into_iter().collect(),
        cross_signing: told.cross_signing,
    };
    let Some(user) = tx.user_nid(user)? else {
        return Ok(keys);
    };
    let signatures = tx.signatures_seen_by(Some(viewer), user)?;
    for stored in keys.cross_signing.values_mut() {
        if let Some(signatures) = signatures.get(&stored.key_id) {
            stored.key = with_signatures(stored.key.json().get(), signatures)?;
        }
    }
    Ok(keys)
}

/// Adds the names that users gave their devices.
pub(crate) fn name_devices(keys: &mut UserKeys, devices: &[Device]) -> Result<()> {
    for device in devices {
        if let Some(keys) = keys.devices.get_mut(&device.device_id)
            && let Some(name) = &device.display_name
        {
            *keys = with_device_name(keys, name)?;
        }
    }
    Ok(())
}
