use ruma::{DeviceId, OwnedDeviceId};
use rusqlite::{Row, params};

use crate::{ReadTx, Result, UserNid, WriteTx};

/// A device of a local user, that is: a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub device_id: OwnedDeviceId,
    /// What its user calls it.
    pub display_name: Option<String>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ts: u64,
    /// When it last asked for something, give or take some minutes.
    pub last_seen_ts: Option<u64>,
    /// From which address.
    pub last_seen_ip: Option<String>,
}

impl ReadTx<'_> {
    /// One device of a local user.
    pub fn device(&self, user: UserNid, device_id: &DeviceId) -> Result<Option<Device>> {
        let sql = "SELECT device_id, display_name, created_ts, last_seen_ts, last_seen_ip FROM devices \
                   WHERE user_nid = ?1 AND device_id = ?2";
        self.optional(sql, params![user, device_id.as_str()], device)
    }

    /// All devices of a local user. How many there can be is limited where they are made.
    pub fn devices(&self, user: UserNid) -> Result<Vec<Device>> {
        let sql = "SELECT device_id, display_name, created_ts, last_seen_ts, last_seen_ip FROM devices \
                   WHERE user_nid = ?1 ORDER BY device_id";
        self.all(sql, [user], device)
    }

    /// How many devices a local user has.
    pub fn device_count(&self, user: UserNid) -> Result<usize> {
        let sql = "SELECT count(*) FROM devices WHERE user_nid = ?1";
        self.one(sql, [user], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Makes a device, or leaves the one that is there as it is. Says whether it made one.
    pub fn insert_device(
        &mut self,
        user: UserNid,
        device_id: &DeviceId,
        display_name: Option<&str>,
    ) -> Result<bool> {
        let sql = "INSERT INTO devices (user_nid, device_id, display_name, created_ts) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT DO NOTHING";
        let now = self.now_ms();
        let inserted = self.execute(sql, params![user, device_id.as_str(), display_name, now])?;
        Ok(inserted == 1)
    }

    /// Renames a device; `false` where there is no such device.
    pub fn set_device_name(
        &mut self,
        user: UserNid,
        device_id: &DeviceId,
        display_name: Option<&str>,
    ) -> Result<bool> {
        let sql = "UPDATE devices SET display_name = ?3 WHERE user_nid = ?1 AND device_id = ?2";
        let changed = self.execute(sql, params![user, device_id.as_str(), display_name])?;
        Ok(changed == 1)
    }

    /// Deletes a device and its tokens; `false` where there is no such device. Its keys are the encryption family's.
    pub fn delete_device(&mut self, user: UserNid, device_id: &DeviceId) -> Result<bool> {
        let sql = "DELETE FROM devices WHERE user_nid = ?1 AND device_id = ?2";
        Ok(self.execute(sql, params![user, device_id.as_str()])? == 1)
    }

    /// Notes when and from where a device last asked for something.
    pub fn set_device_seen(
        &mut self,
        user: UserNid,
        device_id: &DeviceId,
        ts: u64,
        ip: Option<&str>,
    ) -> Result<()> {
        let sql = "UPDATE devices SET last_seen_ts = ?3, last_seen_ip = coalesce(?4, last_seen_ip) \
                   WHERE user_nid = ?1 AND device_id = ?2";
        self.execute(sql, params![user, device_id.as_str(), ts, ip])
            .map(drop)
    }
}

fn device(row: &Row<'_>) -> rusqlite::Result<Device> {
    Ok(Device {
        device_id: row.get::<_, String>(0)?.into(),
        display_name: row.get(1)?,
        created_ts: row.get(2)?,
        last_seen_ts: row.get(3)?,
        last_seen_ip: row.get(4)?,
    })
}
