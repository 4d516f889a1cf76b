//! When users' devices and cross-signing keys changed, and who must know of it.
//!
//! A change is one row, whoever has to hear of it: a client's sync and the sender to another server each ask which of
//! the changes since their position concern them.

use std::collections::BTreeSet;

use ruma::{DeviceId, OwnedUserId, events::room::member::MembershipState};
use rusqlite::params;

use crate::{
    Position, ReadTx, Result, RoomNid, Topic, UserNid, WriteTx, device_list_updates::WAS_JOINED,
};

/// Changes kept of each local user. A server that missed older ones is told of a gap and asks for the whole list.
pub(crate) const CHANGES_KEPT: u32 = 100;

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

/// Whether the user of state key `k` was at some time after position 2, up to position 3, not joined to room `r`.
const WAS_AWAY: &str = "EXISTS (SELECT 1 FROM chain_changes c LEFT JOIN events e ON e.event_nid = c.event_nid
     WHERE c.chain_nid = r.main_chain_nid AND c.state_key_nid = k.state_key_nid AND c.seq > ?2 AND c.seq <= ?3
         AND COALESCE(e.membership, 'leave') <> 'join')";

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
                 {WAS_JOINED}, {WAS_AWAY}
             FROM {tables} CROSS JOIN rooms r CROSS JOIN users u CROSS JOIN state_keys k
             WHERE theirs.seq > ?2 AND theirs.seq <= ?3 AND theirs.room_nid = mine.room_nid
                 AND mine.user_nid = ?1 AND (mine.membership = 'join' OR mine.seq > ?2)
                 AND r.room_nid = theirs.room_nid AND u.user_nid = theirs.user_nid
                 AND k.event_type = 'm.room.member' AND k.state_key = u.user_id"
        );
        let rows = self.all(&sql, params![user, since, until], |row| {
            let (is, am, was): (bool, bool, bool) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let was_away: bool = row.get(5)?;
            let moved = Move {
                room: row.get(0)?,
                user: row.get(1)?,
                joined: is,
            };
            // A changed profile is no move. Nor is a join to a room that the user has gone from. But whoever went and came
            // back may have changed their keys meanwhile, with nobody here being told.
            let has_moved = is != was || is && was_away;
            Ok((has_moved && (am || !is)).then_some(moved))
        })?;
        Ok(rows.into_iter().flatten().collect())
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
