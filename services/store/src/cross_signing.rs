//! Cross-signing keys: of local users as uploaded, of remote users as cached.

use std::collections::BTreeMap;

use ruma::{encryption::CrossSigningKey, serde::Raw};
use rusqlite::params;

use crate::{Error, ReadTx, Result, UserNid, WriteTx, key_signatures::with_signatures};

/// What a cross-signing key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrossSigningUsage {
    /// Signs the other two.
    Master,
    /// Signs the user's own devices.
    SelfSigning,
    /// Signs other users' master keys. Nobody but its owner sees it.
    UserSigning,
}

impl CrossSigningUsage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Master, Self::SelfSigning, Self::UserSigning];

    /// As it stands in a key's `usage`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::SelfSigning => "self_signing",
            Self::UserSigning => "user_signing",
        }
    }
}

/// A cross-signing key as stored.
#[derive(Clone, Debug)]
pub struct StoredCrossSigningKey {
    /// The public key in unpadded base64, which is also the key's name.
    pub key_id: String,
    /// The signed object.
    pub key: Raw<CrossSigningKey>,
}

/// Cross-signing keys of a user by usage.
pub type CrossSigningKeys = BTreeMap<CrossSigningUsage, StoredCrossSigningKey>;

impl ReadTx<'_> {
    /// A user's cross-signing keys as uploaded or cached.
    pub fn cross_signing_keys(&self, user: UserNid) -> Result<CrossSigningKeys> {
        let sql = "SELECT usage, key_id, json FROM cross_signing_keys WHERE user_nid = ?1";
        self.all(sql, [user], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
            ))
        })?
        .into_iter()
        .map(|(usage, key_id, json)| {
            let usage = CrossSigningUsage::ALL
                .into_iter()
                .find(|known| known.as_str() == usage)
                .ok_or_else(|| Error::invalid("cross-signing key usage", &usage))?;
            let key = Raw::from_json_string(json)
                .map_err(|error| Error::invalid("cross-signing key", error))?;
            Ok((usage, StoredCrossSigningKey { key_id, key }))
        })
        .collect()
    }

    /// A user's cross-signing keys, with the signatures that `viewer` may see. The user-signing key is there for its
    /// owner alone. `None` sees what anyone may see.
    pub fn cross_signing_keys_seen_by(
        &self,
        viewer: Option<UserNid>,
        user: UserNid,
    ) -> Result<CrossSigningKeys> {
        let mut keys = self.cross_signing_keys(user)?;
        if viewer != Some(user) {
            keys.remove(&CrossSigningUsage::UserSigning);
        }
        if keys.is_empty() {
            return Ok(keys);
        }
        let signatures = self.signatures_seen_by(viewer, user)?;
        for stored in keys.values_mut() {
            if let Some(signatures) = signatures.get(&stored.key_id) {
                stored.key = with_signatures(stored.key.json().get(), signatures)?;
            }
        }
        Ok(keys)
    }
}

impl WriteTx<'_> {
    /// Sets one of a user's cross-signing keys. When another public key takes the place of one, the signatures over the
    /// old one go. Whether and how that is made known is the caller's business.
    pub fn set_cross_signing_key(
        &mut self,
        user: UserNid,
        usage: CrossSigningUsage,
        key: &StoredCrossSigningKey,
    ) -> Result<()> {
        let sql = "SELECT key_id FROM cross_signing_keys WHERE user_nid = ?1 AND usage = ?2";
        let old: Option<String> =
            self.optional(sql, params![user, usage.as_str()], |row| row.get(0))?;
        if let Some(old) = old.filter(|old| *old != key.key_id) {
            self.delete_signatures_of(user, &old)?;
        }
        self.execute(
            "INSERT INTO cross_signing_keys (user_nid, usage, key_id, json) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (user_nid, usage) DO UPDATE SET key_id = excluded.key_id, json = excluded.json",
            params![user, usage.as_str(), key.key_id, key.key.json().get()],
        )?;
        Ok(())
    }

    /// Takes away one of a user's cross-signing keys, where it is there.
    pub fn remove_cross_signing_key(
        &mut self,
        user: UserNid,
        usage: CrossSigningUsage,
    ) -> Result<()> {
        let sql =
            "DELETE FROM cross_signing_keys WHERE user_nid = ?1 AND usage = ?2 RETURNING key_id";
        let old: Option<String> =
            self.optional(sql, params![user, usage.as_str()], |row| row.get(0))?;
        if let Some(old) = old {
            self.delete_signatures_of(user, &old)?;
        }
        Ok(())
    }
}
