//! The keys that servers sign with.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys>

mod document;
mod remote;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use luxchat_store::{ServerKey, Store};
use quick_cache::sync::Cache;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedServerName,
    OwnedServerSigningKeyId, ServerName, ServerSigningKeyId, UInt,
    api::federation::discovery::ServerSigningKeys,
    room_version_rules::SignaturesRules,
    serde::{Base64, Raw},
    signatures::{PublicKeyMap, PublicKeySet, required_server_signatures_to_verify_event},
};

use self::{
    document::{MAX_VALIDITY, VerifiedDocument, millis},
    remote::Fetcher,
};
use crate::{Error, Membership, Result, client::Client};

/// Keys kept in memory.
const CACHED: usize = 4_096;

/// Signatures of one server that are looked at under one event.
const MAX_SIGNATURES: usize = 8;

/// Finds public keys: on the members list, which alone counts for servers whose keys it names; else in the store, at
/// their server, at the directory. Clones share the work.
#[derive(Clone, Debug)]
pub struct Keys {
    shared: Arc<Shared>,
}

/// What there is to verify an event with.
#[derive(Clone, Debug, Default)]
pub struct EventKeys {
    /// By server and key id.
    pub keys: PublicKeyMap,
    /// A server that must have signed the event, and whose key may well be had later.
    pub missing_for_now: Option<OwnedServerName>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    client: Client,
    cache: Cache<(OwnedServerName, OwnedServerSigningKeyId), ServerKey>,
    fetcher: Fetcher,
}

impl Keys {
    pub(crate) fn new(store: Store, client: Client) -> Self {
        let fetcher = Fetcher::new(client.clone());
        Self {
            shared: Arc::new(Shared {
                store,
                client,
                cache: Cache::new(CACHED),
                fetcher,
            }),
        }
    }

    /// This server's key document, signed: what `/_matrix/key/v2/server` answers.
    pub fn own_document(&self) -> Result<Raw<ServerSigningKeys>> {
        let client = &self.shared.client;
        document::own(client.identity(), client.membership(), self.now_ms())
    }

    /// The key document of `server` with this server's signature added, as a notary answers. One that goes out of date
    /// before `until` is fetched again; where that fails, the stale one is better than none.
    ///
    /// # Errors
    ///
    /// When the store fails. A server whose keys are not to be had yields an empty list.
    pub async fn vouched(
        &self,
        server: &ServerName,
        until: MilliSecondsSinceUnixEpoch,
    ) -> Result<Vec<Raw<ServerSigningKeys>>> {
        let identity = self.shared.client.identity();
        if server == identity.server_name() {
            return Ok(vec![self.own_document()?]);
        }
        if self.shared.client.admit(server).is_err() {
            return Ok(Vec::new());
        }
        let kept = self.kept_document(server).await?;
        let json = match kept {
            Some((json, valid_until)) if valid_until >= u64::from(until.0) => Some(json),
            stale => match self.refresh(server).await {
                Ok(fresh) => Some(fresh.stored.json),
                Err(error @ Error::Store(_)) => return Err(error),
                Err(_) => stale.map(|(json, _)| json),
            },
        };
        json.map(|json| document::countersigned(identity, &json))
            .into_iter()
            .collect()
    }

    /// The key of `server` named `key_id`, if it was valid at `at` (for an event: its `origin_server_ts`).
    ///
    /// # Errors
    ///
    /// [`Error::Signature`] when no source has such a key or it was not valid then.
    pub async fn key(
        &self,
        server: &ServerName,
        key_id: &ServerSigningKeyId,
        at: MilliSecondsSinceUnixEpoch,
    ) -> Result<Base64> {
        let identity = self.shared.client.identity();
        if server == identity.server_name() && key_id == identity.signing_key_id() {
            return Ok(identity.public_key());
        }
        let membership = self.shared.client.membership();
        if server == identity.server_name() || membership.lists_keys(server) {
            let latest = self.now_ms().saturating_add(millis(MAX_VALIDITY));
            return listed_key(membership, server, key_id, at, latest);
        }
        if let Some(key) = self.kept_key(server, key_id).await?
            && (key.is_old || covers(&key, at))
        {
            return usable(server, key_id, key, at);
        }
        let _alone = self.shared.fetcher.turn(server).await;
        // Whoever had the turn before may have brought the key.
        match self.kept_key(server, key_id).await? {
            Some(key) if covers(&key, at) => usable(server, key_id, key, at),
            _ => {
                self.refresh_in_turn(server).await?;
                let key = self.kept_key(server, key_id).await?;
                let key = key.ok_or_else(|| unknown(server, key_id))?;
                usable(server, key_id, key, at)
            }
        }
    }

    /// The keys that `ruma::signatures::verify_event` needs for `event`: those of its signatures by servers that must
    /// have signed it. Keys that are not to be had are left out; verification then fails for the servers concerned, for
    /// now or for good.
    ///
    /// # Errors
    ///
    /// [`Error::Signature`] when the event does not say who must have signed it, [`Error::Store`].
    pub async fn for_event(
        &self,
        event: &CanonicalJsonObject,
        rules: &SignaturesRules,
    ) -> Result<EventKeys> {
        let servers = required_server_signatures_to_verify_event(event, rules)
            .map_err(|error| Error::Signature(error.to_string()))?;
        let at = origin_server_ts(event)?;
        let mut event_keys = EventKeys::default();
        for server in servers {
            let mut keys = PublicKeySet::new();
            for key_id in signatures_of(event, &server).take(MAX_SIGNATURES) {
                match self.key(&server, key_id, at).await {
                    Ok(key) => {
                        keys.insert(key_id.to_string(), key);
                    }
                    Err(error @ Error::Store(_)) => return Err(error),
                    Err(error) => {
                        tracing::debug!(%error, "a key is missing");
                        if error.is_passing() {
                            event_keys.missing_for_now = Some(server.clone());
                        }
                    }
                }
            }
            event_keys.keys.insert(server.to_string(), keys);
        }
        Ok(event_keys)
    }

    fn now_ms(&self) -> u64 {
        self.shared.client.clock().now_ms()
    }

    async fn kept_key(
        &self,
        server: &ServerName,
        key_id: &ServerSigningKeyId,
    ) -> Result<Option<ServerKey>> {
        let name = (server.to_owned(), key_id.to_owned());
        if let Some(key) = self.shared.cache.get(&name) {
            return Ok(Some(key));
        }
        let (server, key_id) = name.clone();
        let key = self
            .shared
            .store
            .read(move |tx| tx.server_key(&server, &key_id))
            .await?;
        if let Some(key) = &key {
            self.shared.cache.insert(name, key.clone());
        }
        Ok(key)
    }

    async fn kept_document(&self, server: &ServerName) -> Result<Option<(String, u64)>> {
        let server = server.to_owned();
        let store = &self.shared.store;
        let kept = store.read(move |tx| tx.server_key_document(&server)).await;
        Ok(kept?.map(|document| (document.json, document.valid_until_ts)))
    }

    async fn refresh(&self, server: &ServerName) -> Result<VerifiedDocument> {
        let _alone = self.shared.fetcher.turn(server).await;
        self.refresh_in_turn(server).await
    }

    async fn refresh_in_turn(&self, server: &ServerName) -> Result<VerifiedDocument> {
        let fresh = self.shared.fetcher.fetch(server).await?;
        let (name, document) = (server.to_owned(), fresh.clone());
        self.shared
            .store
            .write(move |tx| tx.insert_server_keys(&name, &document.stored, &document.keys))
            .await?;
        for (key_id, _) in &fresh.keys {
            // The store decides what a key's validity is now.
            self.shared
                .cache
                .remove(&(server.to_owned(), key_id.clone()));
        }
        Ok(fresh)
    }
}

fn listed_key(
    membership: &Membership,
    server: &ServerName,
    key_id: &ServerSigningKeyId,
    at: MilliSecondsSinceUnixEpoch,
    latest: u64,
) -> Result<Base64> {
    let listed = membership
        .signing_key(server, key_id)
        .ok_or_else(|| unknown(server, key_id))?;
    let end = listed
        .expired
        .map_or(latest, |expired| u64::from(expired.0));
    if u64::from(at.0) > end {
        return Err(outdated(server, key_id));
    }
    Ok(listed.key)
}

fn covers(key: &ServerKey, at: MilliSecondsSinceUnixEpoch) -> bool {
    u64::from(at.0) <= key.valid_until_ts
}

fn usable(
    server: &ServerName,
    key_id: &ServerSigningKeyId,
    key: ServerKey,
    at: MilliSecondsSinceUnixEpoch,
) -> Result<Base64> {
    if covers(&key, at) {
        Ok(Base64::new(key.public_key))
    } else {
        Err(outdated(server, key_id))
    }
}

fn unknown(server: &ServerName, key_id: &ServerSigningKeyId) -> Error {
    Error::Signature(format!("no key {key_id} of {server} is known"))
}

fn outdated(server: &ServerName, key_id: &ServerSigningKeyId) -> Error {
    Error::Signature(format!("key {key_id} of {server} was not valid then"))
}

fn origin_server_ts(event: &CanonicalJsonObject) -> Result<MilliSecondsSinceUnixEpoch> {
    event
        .get("origin_server_ts")
        .and_then(CanonicalJsonValue::as_integer)
        .and_then(|value| UInt::try_from(i64::from(value)).ok())
        .map(MilliSecondsSinceUnixEpoch)
        .ok_or_else(|| Error::Signature("origin_server_ts is missing or invalid".to_owned()))
}

/// The ids of the keys that signed `event` for `server`.
fn signatures_of<'e>(
    event: &'e CanonicalJsonObject,
    server: &ServerName,
) -> impl Iterator<Item = &'e ServerSigningKeyId> {
    event
        .get("signatures")
        .and_then(CanonicalJsonValue::as_object)
        .and_then(|by_server| by_server.get(server.as_str()))
        .and_then(CanonicalJsonValue::as_object)
        .into_iter()
        .flat_map(|by_key| by_key.keys())
        .filter_map(|key_id| <&ServerSigningKeyId>::try_from(key_id.as_str()).ok())
}
