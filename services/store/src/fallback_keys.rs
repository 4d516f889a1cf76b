//! Fallback keys of local devices: given out, again and again, when one-time keys have run out.

use std::collections::BTreeMap;

use ruma::{DeviceId, OneTimeKeyAlgorithm, OwnedOneTimeKeyId, encryption::OneTimeKey, serde::Raw};
use rusqlite::params;

use crate::{
    ReadTx, Result, Topic, UserNid, WriteTx,
    one_time_keys::{columns, parse},
};

impl ReadTx<'_> {
    /// The algorithms for which a device has a fallback key that nobody was given yet.
    pub fn unused_fallback_key_types(
        &self,
        user: UserNid,
        device: &DeviceId,
    ) -> Result<Vec<OneTimeKeyAlgorithm>> {
        self.all(
            "SELECT algorithm FROM fallback_keys
             WHERE user_nid = ?1 AND device_id = ?2 AND used = 0",
            params![user, device.as_str()],
            |row| Ok(row.get::<_, String>(0)?.into()),
        )
    }
}

impl WriteTx<'_> {
    /// Sets a device's fallback keys, one for each algorithm. The key that is there already stays as used as it is.
    pub fn set_fallback_keys(
        &mut self,
        user: UserNid,
        device: &DeviceId,
        keys: &BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>,
    ) -> Result<()> {
        for (id, key) in keys {
            let changed = self.execute(
                "INSERT INTO fallback_keys (user_nid, device_id, algorithm, key_id, json, used)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0)
                 ON CONFLICT (user_nid, device_id, algorithm)
                 DO UPDATE SET key_id = excluded.key_id, json = excluded.json, used = 0
                 WHERE json <> excluded.json",
                params![
                    user,
                    device.as_str(),
                    id.algorithm().as_str(),
                    id.key_name().as_str(),
                    key.json().get()
                ],
            )?;
            if changed > 0 {
                self.next_position();
                self.announce(Topic::User(user));
            }
        }
        Ok(())
    }

    pub(crate) fn use_fallback_key(
        &mut self,
        user: UserNid,
        device: &DeviceId,
        algorithm: &OneTimeKeyAlgorithm,
    ) -> Result<Option<(OwnedOneTimeKeyId, Raw<OneTimeKey>)>> {
        let key = params![user, device.as_str(), algorithm.as_str()];
        let found = self.optional(
            "SELECT key_id, json FROM fallback_keys
             WHERE user_nid = ?1 AND device_id = ?2 AND algorithm = ?3",
            key,
            columns,
        )?;
        let Some(found) = found else {
            return Ok(None);
        };
        let first_use = self.execute(
            "UPDATE fallback_keys SET used = 1
             WHERE user_nid = ?1 AND device_id = ?2 AND algorithm = ?3 AND used = 0",
            key,
        )? > 0;
        if first_use {
            self.announce(Topic::User(user));
        }
        parse(algorithm, found).map(Some)
    }
}
