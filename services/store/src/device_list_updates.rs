//! What other servers are told about the devices and cross-signing keys of local users.

use std::collections::HashMap;

use ruma::{
    DeviceId, OwnedUserId, UInt,
    api::federation::transactions::edu::{DeviceListUpdateContent, Edu, SigningKeyUpdateContent},
};
use rusqlite::params;

use crate::{
    CrossSigningUsage, Position, ReadTx, Result, ServerNid, UserNid, device_lists::CHANGES_KEPT,
};

/// What a server has to be told about local users' devices and cross-signing keys.
#[derive(Clone, Debug)]
pub struct DeviceListUpdates {
    /// `m.device_list_update` and `m.signing_key_update` EDUs, in order.
    pub edus: Vec<Edu>,
    /// With these the server knows all changes up to here.
    pub up_to: Position,
}

/// Whether the user of state key `k` was joined to room `r` at position 2.
pub(crate) const WAS_JOINED: &str = "COALESCE((SELECT e.membership = 'join' FROM chain_changes c
     LEFT JOIN events e ON e.event_nid = c.event_nid
     WHERE c.chain_nid = r.main_chain_nid AND c.state_key_nid = k.state_key_nid AND c.seq <= ?2
     ORDER BY c.ord DESC LIMIT 1), 0)";

impl ReadTx<'_> {
    /// The version of a local user's device list, as `stream_id` of the updates that other servers get.
    pub fn device_list_stream_id(&self, user: UserNid) -> Result<UInt> {
        let last = self.last_device_change(user, Position(i64::MAX))?;
        Ok(stream_id(last.unwrap_or(Position::START)))
    }

    /// Changes of local users' devices and cross-signing keys in (`after`, `until`] of which `server` must be told, and
    /// local users whose joining a room made the server one that must be told: the oldest `limit`. Of a join to a room
    /// whose members were not known then, servers have only the join itself, which has them ask for the list.
    /// [Spec](https://spec.matrix.org/v1.19/server-server-api/#device-management).
    pub fn outgoing_device_list_updates(
        &self,
        server: ServerNid,
        after: Position,
        until: Position,
        limit: u32,
    ) -> Result<DeviceListUpdates> {
        let news = self.news(server, after, until, limit)?;
        let cut = u32::try_from(news.len()).is_ok_and(|found| found >= limit);
        let last = news.last().filter(|_| cut);
        let up_to = last.map_or(until, |last| last.seq);
        let mut previous: HashMap<UserNid, Option<Position>> = HashMap::new();
        let mut edus = Vec::with_capacity(news.len());
        for News {
            seq,
            user,
            device,
            joined,
        } in news
        {
            let user_id = self.user_id(user)?;
            edus.push(match device {
                None => Edu::SigningKeyUpdate(self.signing_key_update(user, user_id)?),
                Some(device) if joined => {
                    // Without `prev_id` the server asks for the whole list.
                    let version = self.last_device_change(user, seq)?;
                    let version = version.unwrap_or(Position::START);
                    let update = self.device_list_update(user, user_id, &device, version)?;
                    Edu::DeviceListUpdate(update)
                }
                Some(device) => {
                    let before = match previous.get(&user) {
                        Some(before) => *before,
                        None => self.device_list_version(user, after)?,
                    };
                    previous.insert(user, Some(seq));
                    let mut update = self.device_list_update(user, user_id, &device, seq)?;
                    update.prev_id = before.map(stream_id).into_iter().collect();
                    Edu::DeviceListUpdate(update)
                }
            });
        }
        Ok(DeviceListUpdates { edus, up_to })
    }

    fn news(
        &self,
        server: ServerNid,
        after: Position,
        until: Position,
        limit: u32,
    ) -> Result<Vec<News>> {
        // CROSS JOIN fixes the order in which the tables are looked at: from what changed to who must know of it.
        let sql = format!(
            "SELECT c.seq, c.user_nid, c.device_id, 0 FROM device_changes c
             WHERE c.seq > ?2 AND c.seq <= ?3 AND EXISTS
                 (SELECT 1 FROM members m CROSS JOIN room_servers s
                  WHERE m.user_nid = c.user_nid AND m.membership = 'join'
                      AND s.room_nid = m.room_nid AND s.server_nid = ?1 AND s.until_seq IS NULL)
             UNION ALL
             SELECT m.seq, m.user_nid,
                 (SELECT MIN(d.device_id) FROM devices d WHERE d.user_nid = m.user_nid), 1
             FROM members m CROSS JOIN users u CROSS JOIN room_servers s
                 CROSS JOIN rooms r CROSS JOIN state_keys k
             WHERE m.seq > ?2 AND m.seq <= ?3 AND m.membership = 'join'
                 AND u.user_nid = m.user_nid AND u.server_nid = ?5
                 AND EXISTS (SELECT 1 FROM devices d WHERE d.user_nid = m.user_nid)
                 AND s.room_nid = m.room_nid AND s.server_nid = ?1 AND s.until_seq IS NULL
                 AND r.room_nid = m.room_nid
                 AND r.partial_from IS NULL AND (r.complete_from IS NULL OR m.seq > r.complete_from)
                 AND k.event_type = 'm.room.member' AND k.state_key = u.user_id
                 AND NOT {WAS_JOINED}
                 AND NOT EXISTS
                     (SELECT 1 FROM members m CROSS JOIN room_servers s CROSS JOIN rooms r
                      WHERE m.user_nid = u.user_nid AND m.membership = 'join'
                          AND s.room_nid = m.room_nid AND s.server_nid = ?1
                          AND s.until_seq IS NULL AND s.from_seq <= ?2
                          AND r.room_nid = m.room_nid AND {WAS_JOINED})
             ORDER BY 1 LIMIT ?4"
        );
        self.all(
            &sql,
            params![server, after, until, limit, ServerNid::OWN],
            |row| {
                Ok(News {
                    seq: row.get(0)?,
                    user: row.get(1)?,
                    device: row.get(2)?,
                    joined: row.get(3)?,
                })
            },
        )
    }

    /// The version that a user's list had at a position: that of its first change is the one before any. `None` when that
    /// is no longer known.
    fn device_list_version(&self, user: UserNid, at: Position) -> Result<Option<Position>> {
        if let Some(last) = self.last_device_change(user, at)? {
            return Ok(Some(last));
        }
        let sql = "SELECT COUNT(*) FROM device_changes WHERE user_nid = ?1";
        let kept: u32 = self.one(sql, [user], |row| row.get(0))?;
        Ok((kept < CHANGES_KEPT).then_some(Position::START))
    }

    fn last_device_change(&self, user: UserNid, until: Position) -> Result<Option<Position>> {
        let sql = "SELECT MAX(seq) FROM device_changes
             WHERE user_nid = ?1 AND seq <= ?2 AND device_id IS NOT NULL";
        self.one(sql, params![user, until], |row| row.get(0))
    }

    fn device_list_update(
        &self,
        user: UserNid,
        user_id: OwnedUserId,
        device: &str,
        version: Position,
    ) -> Result<DeviceListUpdateContent> {
        let mut update = DeviceListUpdateContent::new(user_id, device.into(), stream_id(version));
        update.keys = self.device_keys_seen_by_all(user, device)?;
        let device = self.device(user, <&DeviceId>::from(device))?;
        update.deleted = Some(device.is_none());
        update.device_display_name = device.and_then(|device| device.display_name);
        Ok(update)
    }

    fn signing_key_update(
        &self,
        user: UserNid,
        user_id: OwnedUserId,
    ) -> Result<SigningKeyUpdateContent> {
        let mut keys = self.cross_signing_keys_seen_by(None, user)?;
        let mut take = |usage| keys.remove(&usage).map(|stored| stored.key);
        let mut update = SigningKeyUpdateContent::new(user_id);
        update.master_key = take(CrossSigningUsage::Master);
        update.self_signing_key = take(CrossSigningUsage::SelfSigning);
        Ok(update)
    }
}

/// Something that a server has to be told.
struct News {
    seq: Position,
    user: UserNid,
    /// `None`: the cross-signing keys.
    device: Option<String>,
    /// The server did not have to be told of the user before.
    joined: bool,
}

fn stream_id(seq: Position) -> UInt {
    UInt::try_from(seq.0).unwrap_or(UInt::MIN)
}
