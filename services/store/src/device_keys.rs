//! Identity keys of devices.

use ruma::{DeviceId, OwnedDeviceId, encryption::DeviceKeys, serde::Raw};
use rusqlite::params;

use crate::{Error, ReadTx, Result, UserNid, WriteTx, key_signatures::with_signatures};

/// Most devices of one user whose keys are read at once.
const DEVICES: u32 = 1_000;

impl ReadTx<'_> {
    /// The identity keys of a device as they were uploaded (or, of a remote user, cached).
    pub fn device_keys(&self, user: UserNid, device: &DeviceId) -> Result<Option<Raw<DeviceKeys>>> {
        let sql = "SELECT json FROM device_keys WHERE user_nid = ?1 AND device_id = ?2";
        self.optional(sql, params![user, device.as_str()], |row| row.get(0))?
            .map(raw)
            .transpose()
    }

    /// The identity keys of all devices of a user, with the signatures that `viewer` may see: the user's own, and the
    /// viewer's. `None` sees what anyone may see.
    pub fn device_keys_seen_by(
        &self,
        viewer: Option<UserNid>,
        user: UserNid,
    ) -> Result<Vec<(OwnedDeviceId, Raw<DeviceKeys>)>> {
        let sql = "SELECT device_id, json FROM device_keys WHERE user_nid = ?1 LIMIT ?2";
        let rows = self.all(sql, params![user, DEVICES], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        let mut signatures = self.signatures_seen_by(viewer, user)?;
        rows.into_iter()
            .map(|(device, json)| {
                let keys = match signatures.remove(&device) {
                    Some(signatures) => with_signatures(&json, &signatures)?,
                    None => raw(json)?,
                };
                Ok((device.into(), keys))
            })
            .collect()
    }

    /// The identity keys of one device with the signatures that anyone may see.
    pub(crate) fn device_keys_seen_by_all(
        &self,
        user: UserNid,
        device: &str,
    ) -> Result<Option<Raw<DeviceKeys>>> {
        let sql = "SELECT json FROM device_keys WHERE user_nid = ?1 AND device_id = ?2";
        let Some(json) =
            self.optional(sql, params![user, device], |row| row.get::<_, String>(0))?
        else {
            return Ok(None);
        };
        let signatures = self.own_signatures(user, device)?;
        if signatures.is_empty() {
            raw(json).map(Some)
        } else {
            with_signatures(&json, &signatures).map(Some)
        }
    }
}

/// Identity keys with the name of their device, where clients look for it.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery).
///
/// # Errors
///
/// Where the keys are no JSON object.
pub fn with_device_name(keys: &Raw<DeviceKeys>, name: &str) -> Result<Raw<DeviceKeys>> {
    let invalid = |error| Error::invalid("device keys", error);
    let mut object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(keys.json().get()).map_err(invalid)?;
    let unsigned = serde_json::json!({ "device_display_name": name });
    object.insert("unsigned".to_owned(), unsigned);
    let keys = serde_json::value::to_raw_value(&object).map_err(invalid)?;
    Ok(Raw::from_json(keys))
}

impl WriteTx<'_> {
    /// Sets the identity keys of a local device. `keys` bears no `unsigned`. Says whether anything changed; if so, the
    /// user's device list has. With another identity, what the old one signed goes.
    pub fn set_device_keys(
        &mut self,
        user: UserNid,
        device: &DeviceId,
        keys: &Raw<DeviceKeys>,
    ) -> Result<bool> {
        let old = self.device_keys(user, device)?;
        if old
            .as_ref()
            .is_some_and(|old| old.json().get() == keys.json().get())
        {
            return Ok(false);
        }
        if let Some(old) = old {
            // They were made over what is replaced now.
            self.delete_signatures_of(user, device.as_str())?;
            if identity(&old)? != identity(keys)? {
                // The new identity cannot use what the old one signed.
                self.delete_one_time_keys(user, device)?;
            }
        }
        self.put_device_keys(user, device, keys)?;
        self.device_changed(user, device)?;
        Ok(true)
    }

    /// Takes away all that encryption keeps for a local device: keys and waiting messages. The device list changes
    /// where the device had identity keys.
    pub fn delete_device_encryption(&mut self, user: UserNid, device: &DeviceId) -> Result<()> {
        self.delete_one_time_keys(user, device)?;
        let sql = "DELETE FROM to_device_inbox WHERE user_nid = ?1 AND device_id = ?2";
        self.execute(sql, params![user, device.as_str()])?;
        self.delete_signatures_of(user, device.as_str())?;
        if self.remove_device_keys(user, device)? {
            self.device_changed(user, device)?;
        }
        Ok(())
    }

    fn delete_one_time_keys(&self, user: UserNid, device: &DeviceId) -> Result<()> {
        let key = params![user, device.as_str()];
        let sql = "DELETE FROM one_time_keys WHERE user_nid = ?1 AND device_id = ?2";
        self.execute(sql, key)?;
        let sql = "DELETE FROM fallback_keys WHERE user_nid = ?1 AND device_id = ?2";
        self.execute(sql, key)?;
        Ok(())
    }

    pub(crate) fn put_device_keys(
        &self,
        user: UserNid,
        device: &DeviceId,
        keys: &Raw<DeviceKeys>,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO device_keys (user_nid, device_id, json) VALUES (?1, ?2, ?3)
             ON CONFLICT (user_nid, device_id) DO UPDATE SET json = excluded.json",
            params![user, device.as_str(), keys.json().get()],
        )?;
        Ok(())
    }

    pub(crate) fn remove_device_keys(&self, user: UserNid, device: &DeviceId) -> Result<bool> {
        let sql = "DELETE FROM device_keys WHERE user_nid = ?1 AND device_id = ?2";
        Ok(self.execute(sql, params![user, device.as_str()])? > 0)
    }
}

/// The public keys that a device is known by.
fn identity(keys: &Raw<DeviceKeys>) -> Result<Option<serde_json::Value>> {
    keys.get_field("keys")
        .map_err(|error| Error::invalid("device keys", error))
}

fn raw(json: String) -> Result<Raw<DeviceKeys>> {
    Raw::from_json_string(json).map_err(|error| Error::invalid("device keys", error))
}
