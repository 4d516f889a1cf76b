//! When users' devices and cross-signing keys changed, and who must know of it.
//!
//! A change is one row, whoever has to hear of it: a client's sync and the sender to another server each ask which of
//! the changes since their position concern them.

use std::collections::{BTreeSet, HashMap};

use ruma::{
    DeviceId, OwnedUserId, UInt,
    api::federation::transactions::edu::{DeviceListUpdateContent, Edu, SigningKeyUpdateContent},
    events::room::member::MembershipState,
};
use rusqlite::params;

use crate::{
    CrossSigningUsage, Position, ReadTx, Result, RoomNid, ServerNid, Topic, UserNid, WriteTx,
};

/// Changes kept of each local user. A server that missed older ones is told of a gap and asks for the whole list.
const CHANGES_KEPT: u32 = 100;

/// Up to this many changes of membership, it is cheaper to look at each than at all members of the user's rooms.
const FEW_CHANGES: u32 = 1_000;

/// Whose keys a client should fetch anew, and whose it can forget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceListChanges {
    /// Users with other keys than before, or who share a room with the user since.
    pub changed: Vec<OwnedUserId>,
    /// Users who no longer share a room with the user.
    pub left: Vec<OwnedUserId>,
}

/// What a server has to be told about local users' devices and cross-signing keys.
#[derive(Clone, Debug)]
pub struct DeviceListUpdates {
    /// `m.device_list_update` and `m.signing_key_update` EDUs, in order.
    pub edus: Vec<Edu>,
    /// With these the server knows all changes up to here.
    pub up_to: Position,
}

impl ReadTx<'_> {
    /// What changed for a local user in (`since`, `until`].
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#e2e-extensions-to-sync).
    pub fn device_list_changes(
        &self,
        user: UserNid,
        since: Position,
        until: Position,
    ) -> Result<DeviceListChanges> {
        let mut changed: BTreeSet<UserNid> =
            self.changed_keys(user, since, until)?.into_iter().collect();
        let moves = self.moves(user, since, until)?;
        let mut gone = BTreeSet::new();
        for moved in &moves {
            match (moved.user == user, moved.joined) {
                (true, true) => {
                    changed.extend(self.users_of_room(moved.room, &MembershipState::Join)?);
                }
                (true, false) => {
                    gone.extend(self.users_of_room(moved.room, &MembershipState::Join)?);
                }
                (false, true) => {
                    changed.insert(moved.user);
                }
                (false, false) => {
                    gone.insert(moved.user);
                }
            }
        }
        let mut left = Vec::new();
        for other in gone {
            if other != user && !self.shares_room(user, other)? {
                changed.remove(&other);
                left.push(self.user_id(other)?);
            }
        }
        Ok(DeviceListChanges {
            changed: changed
                .into_iter()
                .map(|nid| self.user_id(nid))
                .collect::<Result<_>>()?,
            left,
        })
    }

    /// The version of a local user's device list, as `stream_id` of the updates that other servers get.
    pub fn device_list_stream_id(&self, user: UserNid) -> Result<UInt> {
        let sql = "SELECT COALESCE(MAX(seq), 0) FROM device_changes
             WHERE user_nid = ?1 AND device_id IS NOT NULL";
        let seq: Position = self.one(sql, [user], |row| row.get(0))?;
        Ok(stream_id(seq))
    }

    /// Changes of local users' devices and cross-signing keys in (`after`, `until`] of which `server` must be told, the
    /// oldest `limit`.
    /// [Spec](https://spec.matrix.org/v1.19/server-server-api/#device-management).
    pub fn outgoing_device_list_updates(
        &self,
        server: ServerNid,
        after: Position,
        until: Position,
        limit: u32,
    ) -> Result<DeviceListUpdates> {
        let rows = self.all(
            "SELECT c.seq, c.user_nid, c.device_id FROM device_changes c
             WHERE c.seq > ?2 AND c.seq <= ?3 AND EXISTS
                 (SELECT 1 FROM members m CROSS JOIN room_servers s
                  WHERE m.user_nid = c.user_nid AND m.membership = 'join'
                      AND s.room_nid = m.room_nid AND s.server_nid = ?1 AND s.until_seq IS NULL)
             ORDER BY c.seq LIMIT ?4",
            params![server, after, until, limit],
            |row| {
                Ok((
                    row.get::<_, Position>(0)?,
                    row.get::<_, UserNid>(1)?,
                    row.get::<_, Option<String>>(2)?,
                ))
            },
        )?;
        let cut = u32::try_from(rows.len()).is_ok_and(|found| found >= limit);
        let up_to = rows.last().filter(|_| cut).map_or(until, |(seq, ..)| *seq);
        let mut previous: HashMap<UserNid, Option<Position>> = HashMap::new();
        let mut edus = Vec::with_capacity(rows.len());
        for (seq, user, device) in rows {
            let user_id = self.user_id(user)?;
            edus.push(match device {
                None => Edu::SigningKeyUpdate(self.signing_key_update(user, user_id)?),
                Some(device) => {
                    let before = match previous.get(&user) {
                        Some(before) => *before,
                        None => self.last_device_change(user, after)?,
                    };
                    previous.insert(user, Some(seq));
                    Edu::DeviceListUpdate(
                        self.device_list_update(user, user_id, &device, seq, before)?,
                    )
                }
            });
        }
        Ok(DeviceListUpdates { edus, up_to })
    }

    fn changed_keys(
        &self,
        user: UserNid,
        since: Position,
        until: Position,
    ) -> Result<Vec<UserNid>> {
        self.all(
            "SELECT d.user_nid FROM device_lists d
             WHERE d.seq > ?2 AND d.seq <= ?3 AND (d.user_nid = ?1 OR EXISTS
                 (SELECT 1 FROM members a JOIN members b ON b.room_nid = a.room_nid
                  WHERE a.user_nid = ?1 AND a.membership = 'join'
                      AND b.user_nid = d.user_nid AND b.membership = 'join'))
             UNION
             SELECT target_nid FROM signature_changes
             WHERE signer_nid = ?1 AND seq > ?2 AND seq <= ?3",
            params![user, since, until],
            |row| row.get(0),
        )
    }

    /// Joins and parts in (`since`, `until`], in rooms that the user is in or went from in that time.
    fn moves(&self, user: UserNid, since: Position, until: Position) -> Result<Vec<Move>> {
        let recent: u32 = self.one(
            "SELECT COUNT(*) FROM
                 (SELECT 1 FROM members WHERE seq > ?1 AND seq <= ?2 LIMIT ?3) AS recent",
            params![since, until, FEW_CHANGES],
            |row| row.get(0),
        )?;
        if recent == 0 {
            return Ok(Vec::new());
        }
        // CROSS JOIN fixes the order in which the tables are looked at.
        let tables = if recent < FEW_CHANGES {
            "members theirs CROSS JOIN members mine"
        } else {
            "members mine CROSS JOIN members theirs"
        };
        let sql = format!(
            "SELECT theirs.room_nid, theirs.user_nid, theirs.membership = 'join', mine.membership = 'join',
                 COALESCE((SELECT e.membership = 'join' FROM chain_changes c
                     LEFT JOIN events e ON e.event_nid = c.event_nid
                     WHERE c.chain_nid = r.main_chain_nid AND c.state_key_nid = k.state_key_nid
                         AND c.seq <= ?2
                     ORDER BY c.ord DESC LIMIT 1), 0)
             FROM {tables} CROSS JOIN rooms r CROSS JOIN users u CROSS JOIN state_keys k
             WHERE theirs.seq > ?2 AND theirs.seq <= ?3 AND theirs.room_nid = mine.room_nid
                 AND mine.user_nid = ?1 AND (mine.membership = 'join' OR mine.seq > ?2)
                 AND r.room_nid = theirs.room_nid AND u.user_nid = theirs.user_nid
                 AND k.event_type = 'm.room.member' AND k.state_key = u.user_id"
        );
        let rows = self.all(&sql, params![user, since, until], |row| {
            let (is, am, was): (bool, bool, bool) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let moved = Move {
                room: row.get(0)?,
                user: row.get(1)?,
                joined: is,
            };
            // A changed profile is no move. Nor is a join to a room that the user has gone from.
            Ok((is != was && (am || !is)).then_some(moved))
        })?;
        Ok(rows.into_iter().flatten().collect())
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
        seq: Position,
        before: Option<Position>,
    ) -> Result<DeviceListUpdateContent> {
        let mut update = DeviceListUpdateContent::new(user_id, device.into(), stream_id(seq));
        update.prev_id = before.map(stream_id).into_iter().collect();
        update.keys = self.device_keys_seen_by_all(user, device)?;
        update.deleted = Some(update.keys.is_none());
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

impl WriteTx<'_> {
    /// The keys, the signatures or the name of a local user's device changed, or the device went.
    pub fn device_changed(&mut self, user: UserNid, device: &DeviceId) -> Result<()> {
        self.log_device_change(user, Some(device))
    }

    /// The cross-signing keys of a local user changed.
    pub fn signing_keys_changed(&mut self, user: UserNid) -> Result<()> {
        self.log_device_change(user, None)
    }

    /// The devices or cross-signing keys of a user, local or remote, changed: wakes the clients (and, by way of rooms,
    /// the servers) that follow them.
    pub(crate) fn device_list_changed(&mut self, user: UserNid, seq: Position) -> Result<()> {
        self.execute(
            "INSERT INTO device_lists (user_nid, seq) VALUES (?1, ?2)
             ON CONFLICT (user_nid) DO UPDATE SET seq = excluded.seq",
            params![user, seq],
        )?;
        self.announce(Topic::User(user));
        for room in self.rooms_of_user(user, &MembershipState::Join)? {
            self.announce(Topic::Room(room));
        }
        Ok(())
    }

    fn log_device_change(&mut self, user: UserNid, device: Option<&DeviceId>) -> Result<()> {
        let seq = self.next_position();
        self.execute(
            "INSERT INTO device_changes (seq, user_nid, device_id) VALUES (?1, ?2, ?3)",
            params![seq, user, device.map(DeviceId::as_str)],
        )?;
        self.execute(
            "DELETE FROM device_changes WHERE user_nid = ?1 AND seq <=
                 (SELECT seq FROM device_changes WHERE user_nid = ?1
                  ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
            params![user, CHANGES_KEPT],
        )?;
        self.device_list_changed(user, seq)?;
        let servers = self.servers_sharing_rooms(user)?;
        for server in servers {
            self.announce(Topic::Destination(server));
        }
        Ok(())
    }
}

/// A user who came to a room or went from it.
struct Move {
    room: RoomNid,
    user: UserNid,
    joined: bool,
}

fn stream_id(seq: Position) -> UInt {
    UInt::try_from(seq.0).unwrap_or(UInt::MIN)
}
