use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use luxchat_federation::Error as FederationError;
use ruma::{
    OneTimeKeyAlgorithm, OwnedDeviceId, OwnedServerName, OwnedUserId,
    api::{
        client::keys::claim_keys::v3::OneTimeKeys,
        federation::keys::claim_keys::v1 as federation_claim,
    },
};

use crate::{Encryption, Error, Result, remote::CONCURRENT_SERVERS};

/// Keys that one write claims: the writer has others to serve.
const CLAIMS_PER_WRITE: usize = 50;

/// Which keys are asked for: one of an algorithm for each device.
pub(crate) type Claims = BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, OneTimeKeyAlgorithm>>;

/// What a claim brought.
#[derive(Debug, Default)]
pub struct ClaimedKeys {
    /// One key for each device that had one.
    pub keys: BTreeMap<OwnedUserId, OneTimeKeys>,
    /// The servers that could not be asked.
    pub failures: BTreeMap<OwnedServerName, FederationError>,
}

impl Encryption {
    /// Claims one-time keys of devices, here and on other servers.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim).
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] where it names too many users.
    pub async fn claim_keys(
        &self,
        claims: Claims,
        timeout: Option<Duration>,
    ) -> Result<ClaimedKeys> {
        let limit = self.config().users_per_query;
        if claims.len() > limit {
            return Err(Error::TooLarge(format!("a claim may name {limit} users")));
        }
        let mut local = Claims::new();
        let mut remote: BTreeMap<OwnedServerName, Claims> = BTreeMap::new();
        for (user, devices) in claims {
            if self.is_local(&user) {
                local.insert(user, devices);
            } else {
                let server = remote.entry(user.server_name().to_owned()).or_default();
                server.insert(user, devices);
            }
        }
        let mut claimed = ClaimedKeys {
            keys: self.claim_local_keys(local).await?,
            failures: BTreeMap::new(),
        };
        let timeout = self.remote_timeout(timeout);
        let mut answers = stream::iter(remote)
            .map(|(server, claims)| async move {
                let answer = self.claim_from(&server, claims, timeout).await;
                (server, answer)
            })
            .buffer_unordered(CONCURRENT_SERVERS);
        while let Some((server, answer)) = answers.next().await {
            match answer {
                Ok(keys) => claimed.keys.extend(keys),
                Err(error) => {
                    claimed.failures.insert(server, error);
                }
            }
        }
        drop(answers);
        Ok(claimed)
    }

    /// Claims one-time keys of local devices. Each claim is on disk before its key leaves.
    pub(crate) async fn claim_local_keys(
        &self,
        claims: Claims,
    ) -> Result<BTreeMap<OwnedUserId, OneTimeKeys>> {
        let wanted: Vec<_> = claims
            .into_iter()
            .flat_map(|(user, devices)| {
                devices
                    .into_iter()
                    .map(move |(device, algorithm)| (user.clone(), device, algorithm))
            })
            .collect();
        let mut claimed: BTreeMap<OwnedUserId, OneTimeKeys> = BTreeMap::new();
        for part in wanted.chunks(CLAIMS_PER_WRITE) {
            let part = part.to_vec();
            let keys = self
                .store()
                .write::<_, Error, _>(move |tx| {
                    let mut keys = Vec::with_capacity(part.len());
                    for (user, device, algorithm) in part {
                        if let Some(nid) = tx.user_nid(&user)?
                            && let Some(key) = tx.claim_one_time_key(nid, &device, &algorithm)?
                        {
                            keys.push((user, device, key));
                        }
                    }
                    Ok(keys)
                })
                .await?;
            for (user, device, (id, key)) in keys {
                let devices = claimed.entry(user).or_default();
                devices.entry(device).or_default().insert(id, key);
            }
        }
        Ok(claimed)
    }

    async fn claim_from(
        &self,
        server: &OwnedServerName,
        claims: Claims,
        timeout: Duration,
    ) -> Result<BTreeMap<OwnedUserId, OneTimeKeys>, FederationError> {
        let request = federation_claim::Request::new(claims.clone());
        let answer = self.federation().request(server, request);
        let answer = Self::within(timeout, server, answer).await?;
        let mut keys = answer.one_time_keys;
        // Nothing but what was asked for.
        keys.retain(|user, devices| {
            let Some(asked) = claims.get(user) else {
                return false;
            };
            devices.retain(|device, keys| {
                keys.retain(|id, _| asked.get(device) == Some(&id.algorithm()));
                !keys.is_empty()
            });
            !devices.is_empty()
        });
        Ok(keys)
    }
}
