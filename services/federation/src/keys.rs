//! The keys that servers sign with.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys>

use std::sync::Arc;

use luxchat_store::Store;
use ruma::{
    CanonicalJsonObject, MilliSecondsSinceUnixEpoch, ServerName, ServerSigningKeyId, UInt,
    room_version_rules::SignaturesRules,
    serde::Base64,
    signatures::{PublicKeyMap, PublicKeySet, required_server_signatures_to_verify_event},
};

use crate::{Error, Identity, Membership, Result};

/// Finds public keys: in the members list, in the store, at their server, at the directory. Clones share the work.
#[derive(Clone, Debug)]
pub struct Keys {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    identity: Arc<Identity>,
    membership: Membership,
}

impl Keys {
    pub(crate) fn new(store: Store, identity: Arc<Identity>, membership: Membership) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                identity,
                membership,
            }),
        }
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
        let _ = (&self.shared.store, at);
        let identity = &self.shared.identity;
        if server == identity.server_name() && key_id == identity.signing_key_id() {
            return Ok(identity.public_key());
        }
        let list = self.shared.membership.current();
        list.get(server)
            .and_then(|member| member.signing_keys.get(key_id).cloned())
            .ok_or_else(|| Error::Signature(format!("no key {key_id} of {server} is known")))
    }

    /// The keys that `ruma::signatures::verify_event` needs for `event`: those of its signatures by servers that must
    /// have signed it. Keys that are not to be had are left out; verification then fails for the servers concerned.
    ///
    /// # Errors
    ///
    /// [`Error::Signature`] when the event does not say who must have signed it.
    pub async fn for_event(
        &self,
        event: &CanonicalJsonObject,
        rules: &SignaturesRules,
    ) -> Result<PublicKeyMap> {
        let invalid = |error: &dyn std::fmt::Display| Error::Signature(error.to_string());
        let servers = required_server_signatures_to_verify_event(event, rules)
            .map_err(|error| invalid(&error))?;
        let at = event
            .get("origin_server_ts")
            .and_then(|value| value.as_integer())
            .and_then(|value| UInt::try_from(i64::from(value)).ok())
            .map(MilliSecondsSinceUnixEpoch)
            .ok_or_else(|| invalid(&"origin_server_ts is missing or invalid"))?;
        let mut map = PublicKeyMap::new();
        for server in servers {
            let signatures = event
                .get("signatures")
                .and_then(|value| value.as_object())
                .and_then(|by_server| by_server.get(server.as_str()))
                .and_then(|value| value.as_object());
            let mut keys = PublicKeySet::new();
            for key_id in signatures.into_iter().flat_map(|by_key| by_key.keys()) {
                let Ok(parsed) = <&ServerSigningKeyId>::try_from(key_id.as_str()) else {
                    continue;
                };
                if let Ok(key) = self.key(&server, parsed, at).await {
                    keys.insert(key_id.clone(), key);
                }
            }
            map.insert(server.to_string(), keys);
        }
        Ok(map)
    }
}
