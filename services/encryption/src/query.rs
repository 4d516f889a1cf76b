use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use luxchat_federation::Error as FederationError;
use luxchat_store::{
    CrossSigningKeys, Device, ReadTx, RemoteDeviceList, RemoteDevices, UserNid, with_signatures,
};
use ruma::{
    OwnedDeviceId, OwnedServerName, OwnedUserId, UserId, encryption::DeviceKeys, serde::Raw,
};

use crate::{
    Encryption, Error, Result,
    encryption::local_user,
    remote::{CONCURRENT_SERVERS, Wanted},
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
        let fetched = self.fetch_missing(missing, timeout, &mut queried).await;
        let viewer = viewer.to_owned();
        let mut fetched = self
            .store()
            .read::<_, Error, _>(move |tx| {
                let viewer = local_user(tx, &viewer)?;
                fetched
                    .into_iter()
                    .map(|(user, devices)| Ok((user.clone(), seen_by(tx, viewer, &user, devices)?)))
                    .collect::<Result<BTreeMap<_, _>>>()
            })
            .await?;
        queried.users.append(&mut fetched);
        for (user, keys) in &mut queried.users {
            if let Some(asked) = queries.get(user).filter(|asked| !asked.is_empty()) {
                keys.devices.retain(|device, _| asked.contains(device));
            }
        }
        Ok(queried)
    }

    /// Asks other servers, all at the same time. Their failures go into `queried`.
    async fn fetch_missing(
        &self,
        missing: BTreeMap<OwnedServerName, Wanted>,
        timeout: Option<Duration>,
        queried: &mut QueriedKeys,
    ) -> BTreeMap<OwnedUserId, RemoteDevices> {
        let timeout = self.remote_timeout(timeout);
        let mut answers = stream::iter(missing)
            .map(|(server, wanted)| async move {
                let answer = self.fetch_remote_devices(&server, wanted, timeout).await;
                (server, answer)
            })
            .buffer_unordered(CONCURRENT_SERVERS);
        let mut fetched = BTreeMap::new();
        while let Some((server, answer)) = answers.next().await {
            match answer {
                Ok(devices) => fetched.extend(devices),
                Err(error) => {
                    queried.failures.insert(server, error);
                }
            }
        }
        fetched
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
        let state = match nid {
            Some(nid) if !is_local => tx.remote_device_list(nid)?,
            _ => RemoteDeviceList::Missing,
        };
        match (nid, is_local, state) {
            (Some(nid), true, _) => {
                let mut keys = known_keys(tx, viewer, nid)?;
                name_devices(&mut keys, &tx.devices(nid)?)?;
                queried.users.insert(user.clone(), keys);
            }
            (None, true, _) => {}
            (Some(nid), false, RemoteDeviceList::Fresh) => {
                queried
                    .users
                    .insert(user.clone(), known_keys(tx, viewer, nid)?);
            }
            (_, false, state) => {
                let wanted = missing.entry(user.server_name().to_owned()).or_default();
                match state {
                    RemoteDeviceList::Stale => wanted.stale.push(user.clone()),
                    _ => wanted.missing.push(user.clone()),
                }
            }
        }
    }
    Ok((queried, missing))
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

fn name_devices(keys: &mut UserKeys, devices: &[Device]) -> Result<()> {
    for device in devices {
        let (Some(keys), Some(name)) = (
            keys.devices.get_mut(&device.device_id),
            &device.display_name,
        ) else {
            continue;
        };
        let invalid = |error| luxchat_store::Error::invalid("device keys", error);
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(keys.json().get()).map_err(invalid)?;
        object.insert(
            "unsigned".to_owned(),
            serde_json::json!({ "device_display_name": name }),
        );
        *keys = Raw::from_json(serde_json::value::to_raw_value(&object).map_err(invalid)?);
    }
    Ok(())
}
