//! One-time keys of local devices: each is given out once.

use std::collections::BTreeMap;

use ruma::{
    DeviceId, OneTimeKeyAlgorithm, OwnedOneTimeKeyId, UInt, encryption::OneTimeKey, serde::Raw,
};
use rusqlite::{Row, params};

use crate::{Error, ReadTx, Result, Topic, UserNid, WriteTx};

/// Claimed keys of a device and algorithm that are remembered, so that a repeated upload cannot bring them back.
const TOMBSTONES: u32 = 200;

/// What became of an upload of one-time keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneTimeKeyUpload {
    /// All are stored, or were before.
    Stored,
    /// This key is there with other content. Nothing was stored that the caller's error does not undo.
    Conflict(OwnedOneTimeKeyId),
    /// The device would have more than the limit. Likewise.
    TooMany,
}

impl ReadTx<'_> {
    /// How many keys of a device can still be claimed, by algorithm.
    pub fn one_time_key_counts(
        &self,
        user: UserNid,
        device: &DeviceId,
    ) -> Result<BTreeMap<OneTimeKeyAlgorithm, UInt>> {
        let rows = self.all(
            "SELECT algorithm, COUNT(*) FROM one_time_keys
             WHERE user_nid = ?1 AND device_id = ?2 AND claimed_at IS NULL GROUP BY algorithm",
            params![user, device.as_str()],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)),
        )?;
        Ok(rows
            .into_iter()
            .map(|(algorithm, count)| (algorithm.into(), count.into()))
            .collect())
    }
}

impl WriteTx<'_> {
    /// Adds keys that can be claimed, at most `limit` per device in all.
    pub fn add_one_time_keys(
        &mut self,
        user: UserNid,
        device: &DeviceId,
        keys: &BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>,
        limit: u32,
    ) -> Result<OneTimeKeyUpload> {
        if keys.is_empty() {
            return Ok(OneTimeKeyUpload::Stored);
        }
        let seq = self.next_position();
        for (id, key) in keys {
            let (algorithm, name) = (id.algorithm(), id.key_name());
            let sql = "SELECT json, claimed_at IS NOT NULL FROM one_time_keys
                 WHERE user_nid = ?1 AND device_id = ?2 AND algorithm = ?3 AND key_id = ?4";
            let same_id = params![user, device.as_str(), algorithm.as_str(), name.as_str()];
            let found = self.optional(sql, same_id, |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))
            })?;
            match found {
                Some((json, _)) if json == key.json().get() => continue,
                Some((_, false)) => return Ok(OneTimeKeyUpload::Conflict(id.clone())),
                // A claimed key's name on a new key: the key itself was never given out.
                Some((_, true)) | None => {}
            }
            self.execute(
                "INSERT INTO one_time_keys (user_nid, device_id, algorithm, key_id, seq, claimed_at, json)
                 VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6)
                 ON CONFLICT (user_nid, device_id, algorithm, key_id)
                 DO UPDATE SET seq = excluded.seq, claimed_at = NULL, json = excluded.json",
                params![
                    user,
                    device.as_str(),
                    algorithm.as_str(),
                    name.as_str(),
                    seq,
                    key.json().get()
                ],
            )?;
        }
        let sql = "SELECT COUNT(*) FROM one_time_keys
             WHERE user_nid = ?1 AND device_id = ?2 AND claimed_at IS NULL";
        let count: u32 = self.one(sql, params![user, device.as_str()], |row| row.get(0))?;
        if count > limit {
            return Ok(OneTimeKeyUpload::TooMany);
        }
        self.announce(Topic::User(user));
        Ok(OneTimeKeyUpload::Stored)
    }

    /// Takes one key of a device, oldest upload first; when none is left, its fallback key. The claim is on disk before
    /// the key leaves the store.
    pub fn claim_one_time_key(
        &mut self,
        user: UserNid,
        device: &DeviceId,
        algorithm: &OneTimeKeyAlgorithm,
    ) -> Result<Option<(OwnedOneTimeKeyId, Raw<OneTimeKey>)>> {
        let seq = self.next_position();
        let key = params![user, device.as_str(), algorithm.as_str(), seq];
        let claimed = self.optional(
            "UPDATE one_time_keys SET claimed_at = ?4
             WHERE user_nid = ?1 AND device_id = ?2 AND algorithm = ?3 AND key_id =
                 (SELECT key_id FROM one_time_keys
                  WHERE user_nid = ?1 AND device_id = ?2 AND algorithm = ?3 AND claimed_at IS NULL
                  ORDER BY seq LIMIT 1)
             RETURNING key_id, json",
            key,
            columns,
        )?;
        let Some(claimed) = claimed else {
            return self.use_fallback_key(user, device, algorithm);
        };
        self.execute(
            "DELETE FROM one_time_keys
             WHERE user_nid = ?1 AND device_id = ?2 AND algorithm = ?3 AND claimed_at <=
                 (SELECT claimed_at FROM one_time_keys
                  WHERE user_nid = ?1 AND device_id = ?2 AND algorithm = ?3 AND claimed_at IS NOT NULL
                  ORDER BY claimed_at DESC LIMIT 1 OFFSET ?4)",
            params![user, device.as_str(), algorithm.as_str(), TOMBSTONES],
        )?;
        // The device hears that it has one less.
        self.announce(Topic::User(user));
        parse(algorithm, claimed).map(Some)
    }
}

pub(crate) fn columns(row: &Row<'_>) -> rusqlite::Result<(String, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

pub(crate) fn parse(
    algorithm: &OneTimeKeyAlgorithm,
    (key_id, json): (String, String),
) -> Result<(OwnedOneTimeKeyId, Raw<OneTimeKey>)> {
    let id = ruma::OneTimeKeyId::from_parts(algorithm.clone(), key_id.as_str().into());
    let key = Raw::from_json_string(json).map_err(|error| Error::invalid("one-time key", error))?;
    Ok((id, key))
}
