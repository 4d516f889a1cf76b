//! What is cached of remote users' devices and cross-signing keys, and whether it can still be relied on.

use ruma::{
    DeviceId, OwnedDeviceId, UInt, api::federation::transactions::edu::DeviceListUpdateContent,
    encryption::DeviceKeys, serde::Raw,
};
use rusqlite::params;

use crate::{
    CrossSigningKeys, CrossSigningUsage, Position, ReadTx, Result, ServerNid, UserNid, WriteTx,
};

/// Most devices that are cached of one remote user.
const DEVICES: usize = 1_000;

/// How much the cache knows of a remote user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteDeviceList {
    /// All of it: every change since has come in.
    Fresh,
    /// It missed a change: ask for the whole list.
    Stale,
    /// Nothing that can be relied on: ask for the keys.
    Missing,
}

/// A remote user's devices and keys as their server told them.
#[derive(Clone, Debug, Default)]
pub struct RemoteDevices {
    /// The version of the list, where the answer had one.
    pub stream_id: Option<UInt>,
    /// The identity keys of all devices.
    pub devices: Vec<(OwnedDeviceId, Raw<DeviceKeys>)>,
    /// The master key and the self-signing key.
    pub cross_signing: CrossSigningKeys,
}

impl ReadTx<'_> {
    /// How much the cache knows of a remote user. It can be relied on only while the user shares a room with a local
    /// one without a break, for only then does their server tell this one of changes.
    pub fn remote_device_list(&self, user: UserNid) -> Result<RemoteDeviceList> {
        // CROSS JOIN: from the user's rooms, of which there are fewer than this server has.
        let found = self.optional(
            "SELECT l.stale, EXISTS
                 (SELECT 1 FROM members m CROSS JOIN room_servers s
                  WHERE m.user_nid = l.user_nid AND m.membership = 'join' AND m.seq <= l.seq
                      AND s.room_nid = m.room_nid AND s.server_nid = ?2
                      AND s.until_seq IS NULL AND s.from_seq <= l.seq)
             FROM remote_device_lists l WHERE l.user_nid = ?1",
            params![user, ServerNid::OWN],
            |row| Ok((row.get::<_, bool>(0)?, row.get::<_, bool>(1)?)),
        )?;
        Ok(match found {
            Some((false, true)) => RemoteDeviceList::Fresh,
            Some((true, true)) => RemoteDeviceList::Stale,
            _ => RemoteDeviceList::Missing,
        })
    }

    /// Whether a user is joined to a room that this server is in.
    pub fn shares_room_with_us(&self, user: UserNid) -> Result<bool> {
        let found = self.optional(
            "SELECT 1 FROM members m CROSS JOIN room_servers s
             WHERE m.user_nid = ?1 AND m.membership = 'join'
                 AND s.room_nid = m.room_nid AND s.server_nid = ?2 AND s.until_seq IS NULL LIMIT 1",
            params![user, ServerNid::OWN],
            |_| Ok(()),
        )?;
        Ok(found.is_some())
    }
}

impl WriteTx<'_> {
    /// Caches what a remote server answered to a question asked when the newest position was `asked_at`. Dropped where
    /// the user shares no room, or where a change came in meanwhile: the answer may not contain it.
    pub fn cache_remote_devices(
        &mut self,
        user: UserNid,
        asked_at: Position,
        answer: &RemoteDevices,
    ) -> Result<()> {
        let sql = "SELECT 1 FROM device_lists WHERE user_nid = ?1 AND seq > ?2";
        let overtaken = self.optional(sql, params![user, asked_at], |_| Ok(()))?;
        if overtaken.is_some() || !self.shares_room_with_us(user)? {
            return Ok(());
        }
        self.execute("DELETE FROM device_keys WHERE user_nid = ?1", [user])?;
        for (device, keys) in answer.devices.iter().take(DEVICES) {
            self.put_device_keys(user, device, keys)?;
        }
        self.cache_cross_signing_keys(user, &answer.cross_signing)?;
        self.execute(
            "INSERT INTO remote_device_lists (user_nid, stream_id, seq, stale) VALUES (?1, ?2, ?3, 0)
             ON CONFLICT (user_nid)
             DO UPDATE SET stream_id = excluded.stream_id, seq = excluded.seq, stale = 0",
            params![user, answer.stream_id.map(i64::from), asked_at],
        )?;
        Ok(())
    }

    /// Takes in an update of a remote user's device list. One that does not follow on what is cached makes the cache
    /// stale. Ignored where the user shares no room.
    ///
    /// Nobody is told of an update that follows on nothing, for a list that was never fetched: a server that begins to tell
    /// of a user, who came to a room just now, sends one, and clients heard of the user then. Unless the list is being
    /// asked for: the answer may lack the update.
    pub fn receive_device_list_update(
        &mut self,
        user: UserNid,
        update: &DeviceListUpdateContent,
        is_asked_for: bool,
    ) -> Result<()> {
        if !self.shares_room_with_us(user)? {
            return Ok(());
        }
        if update.prev_id.is_empty() && !is_asked_for && !self.was_fetched(user)? {
            return Ok(());
        }
        let sql = "SELECT stream_id FROM remote_device_lists WHERE user_nid = ?1 AND stale = 0";
        let cached: Option<Option<i64>> = self.optional(sql, [user], |row| row.get(0))?;
        if let Some(known) = cached {
            let new = i64::from(update.stream_id);
            if known.is_some_and(|known| known >= new) {
                return Ok(());
            }
            let follows = known.is_none_or(|known| {
                update
                    .prev_id
                    .iter()
                    .any(|previous| i64::from(*previous) == known)
            });
            if follows {
                self.apply_device_update(user, update)?;
                let sql = "UPDATE remote_device_lists SET stream_id = ?2 WHERE user_nid = ?1";
                self.execute(sql, params![user, new])?;
            } else {
                self.remote_devices_stale(user)?;
            }
        }
        let seq = self.next_position();
        self.device_list_changed(user, seq)
    }

    /// Takes in that a remote user's device list changed to something that cannot be kept: it is to be asked for. Ignored
    /// where the user shares no room.
    pub fn receive_unusable_device_list_update(&mut self, user: UserNid) -> Result<()> {
        if !self.shares_room_with_us(user)? || !self.was_fetched(user)? {
            return Ok(());
        }
        self.remote_devices_stale(user)?;
        let seq = self.next_position();
        self.device_list_changed(user, seq)
    }

    /// Takes in new cross-signing keys of a remote user. Ignored where the user shares no room.
    pub fn receive_cross_signing_keys(
        &mut self,
        user: UserNid,
        keys: &CrossSigningKeys,
    ) -> Result<()> {
        if !self.shares_room_with_us(user)? {
            return Ok(());
        }
        if self.remote_device_list(user)? == RemoteDeviceList::Fresh {
            self.cache_cross_signing_keys(user, keys)?;
        }
        let seq = self.next_position();
        self.device_list_changed(user, seq)
    }

    /// Whether the list of a remote user was ever fetched by those who share a room with them: what became of it does not
    /// matter.
    fn was_fetched(&self, user: UserNid) -> Result<bool> {
        let sql = "SELECT 1 FROM remote_device_lists WHERE user_nid = ?1";
        Ok(self.optional(sql, [user], |_| Ok(()))?.is_some())
    }

    /// What is cached of a remote user cannot be relied on.
    fn remote_devices_stale(&self, user: UserNid) -> Result<()> {
        let sql = "UPDATE remote_device_lists SET stale = 1 WHERE user_nid = ?1";
        self.execute(sql, [user])?;
        Ok(())
    }

    fn apply_device_update(&self, user: UserNid, update: &DeviceListUpdateContent) -> Result<()> {
        let device: &DeviceId = &update.device_id;
        match &update.keys {
            Some(keys) if update.deleted != Some(true) => {
                let sql = "SELECT COUNT(*) FROM device_keys WHERE user_nid = ?1";
                let count: i64 = self.one(sql, [user], |row| row.get(0))?;
                if usize::try_from(count).is_ok_and(|count| count < DEVICES) {
                    self.put_device_keys(user, device, keys)?;
                }
            }
            _ => {
                self.remove_device_keys(user, device)?;
            }
        }
        Ok(())
    }

    fn cache_cross_signing_keys(&mut self, user: UserNid, keys: &CrossSigningKeys) -> Result<()> {
        for usage in [CrossSigningUsage::Master, CrossSigningUsage::SelfSigning] {
            match keys.get(&usage) {
                Some(key) => self.set_cross_signing_key(user, usage, key)?,
                None => self.remove_cross_signing_key(user, usage)?,
            }
        }
        Ok(())
    }
}
