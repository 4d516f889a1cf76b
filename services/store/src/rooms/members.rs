//! Who is in which room, kept beside the current state for quick answers.

use ruma::{OwnedUserId, events::room::member::MembershipState};
use rusqlite::{Row, params};

use super::parsed;
use crate::{
    EventNid, Position, ReadTx, Result, RoomNid, ServerNid, StateChange, StateKeyNid, Topic,
    UserNid, WriteTx,
};

/// A user's current membership of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The room.
    pub room: RoomNid,
    /// The user.
    pub user: UserNid,
    /// What they are to the room.
    pub membership: MembershipState,
    /// The event that says so.
    pub event: EventNid,
    /// When this last changed here.
    pub seq: Position,
    /// Whether the user asked to forget the room after they left it.
    pub forgotten: bool,
}

macro_rules! select_member {
    ($tail:literal) => {
        concat!(
            "SELECT m.room_nid, m.user_nid, m.membership, m.event_nid, m.seq, m.forgotten FROM members m ",
            $tail
        )
    };
}

impl ReadTx<'_> {
    /// A user's membership of a room; `None` where they never had any.
    pub fn member(&self, room: RoomNid, user: UserNid) -> Result<Option<Member>> {
        let sql = select_member!("WHERE m.room_nid = ?1 AND m.user_nid = ?2");
        self.optional(sql, params![room, user], read_member)
    }

    /// Whether a user is joined to a room.
    pub fn is_joined(&self, room: RoomNid, user: UserNid) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM members WHERE room_nid = ?1 AND user_nid = ?2 AND membership = 'join')";
        self.one(sql, params![room, user], |row| row.get(0))
    }

    /// All memberships of a user, forgotten ones too.
    pub fn memberships_of_user(&self, user: UserNid) -> Result<Vec<Member>> {
        let sql = select_member!("WHERE m.user_nid = ?1");
        self.all(sql, [user], read_member)
    }

    /// The rooms in which a user has a membership.
    pub fn rooms_of_user(
        &self,
        user: UserNid,
        membership: &MembershipState,
    ) -> Result<Vec<RoomNid>> {
        let sql = "SELECT room_nid FROM members WHERE user_nid = ?1 AND membership = ?2";
        self.all(sql, params![user, membership.as_str()], |row| row.get(0))
    }

    /// The users who have a membership of a room.
    pub fn users_of_room(
        &self,
        room: RoomNid,
        membership: &MembershipState,
    ) -> Result<Vec<UserNid>> {
        let sql = "SELECT user_nid FROM members WHERE room_nid = ?1 AND membership = ?2";
        self.all(sql, params![room, membership.as_str()], |row| row.get(0))
    }

    /// The joined users of a room by their Matrix ids.
    pub fn joined_user_ids(&self, room: RoomNid) -> Result<Vec<OwnedUserId>> {
        let sql = "SELECT u.user_id FROM members m JOIN users u ON u.user_nid = m.user_nid \
                   WHERE m.room_nid = ?1 AND m.membership = 'join'";
        self.all(sql, [room], |row| parsed(row, "user_id"))
    }

    /// The joined users of a room who live on a server.
    pub fn joined_users_of_server(
        &self,
        room: RoomNid,
        server: ServerNid,
    ) -> Result<Vec<(UserNid, OwnedUserId)>> {
        let sql = "SELECT u.user_nid, u.user_id FROM members m JOIN users u ON u.user_nid = m.user_nid \
                   WHERE m.room_nid = ?1 AND m.membership = 'join' AND u.server_nid = ?2";
        self.all(sql, params![room, server], |row| {
            Ok((row.get("user_nid")?, parsed(row, "user_id")?))
        })
    }

    /// How many users have a membership of a room.
    pub fn member_count(&self, room: RoomNid, membership: &MembershipState) -> Result<u64> {
        if *membership == MembershipState::Join {
            // They are counted by server: thousands of members wake for one who comes, and none of them counts the rest.
            let sql = "SELECT coalesce(sum(joined), 0) FROM room_servers \
                       WHERE room_nid = ?1 AND until_seq IS NULL";
            return self.one(sql, [room], |row| row.get(0));
        }
        let sql = "SELECT count(*) FROM members WHERE room_nid = ?1 AND membership = ?2";
        self.one(sql, params![room, membership.as_str()], |row| row.get(0))
    }

    /// Whether two users are joined to a common room.
    pub fn shares_room(&self, one: UserNid, other: UserNid) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM members a JOIN members b ON b.room_nid = a.room_nid \
                   WHERE a.user_nid = ?1 AND a.membership = 'join' \
                   AND b.user_nid = ?2 AND b.membership = 'join')";
        self.one(sql, params![one, other], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Sets a membership that no current state bears out: an invite to, or a knock on, a room of other servers.
    pub fn set_member(
        &mut self,
        room: RoomNid,
        user: UserNid,
        membership: &MembershipState,
        event: EventNid,
        seq: Position,
    ) -> Result<()> {
        self.upsert_member(room, user, membership, event, seq)?;
        self.announce(Topic::User(user));
        Ok(())
    }

    fn upsert_member(
        &mut self,
        room: RoomNid,
        user: UserNid,
        membership: &MembershipState,
        event: EventNid,
        seq: Position,
    ) -> Result<()> {
        // Who was away and is something again has not forgotten the room.
        let sql = "INSERT INTO members (room_nid, user_nid, membership, event_nid, seq) VALUES (?1, ?2, ?3, ?4, ?5) \
                   ON CONFLICT (room_nid, user_nid) DO UPDATE SET membership = excluded.membership, \
                   event_nid = excluded.event_nid, seq = excluded.seq, forgotten = 0";
        self.execute(sql, params![room, user, membership.as_str(), event, seq])?;
        Ok(())
    }

    /// Lets a user forget a room; `false` if they are in it, invited to it, or knock on it.
    pub fn forget_room(&mut self, room: RoomNid, user: UserNid) -> Result<bool> {
        let seq = self.next_position();
        let sql = "UPDATE members SET forgotten = 1, seq = ?3 \
                   WHERE room_nid = ?1 AND user_nid = ?2 AND membership IN ('leave', 'ban')";
        Ok(self.execute(sql, params![room, user, seq])? > 0)
    }

    /// Brings `members` and `room_servers` in line with a changed entry of the current state.
    pub(super) fn follow_membership(
        &mut self,
        room: RoomNid,
        change: StateChange,
        seq: Position,
    ) -> Result<()> {
        let Some(user_id) = self.member_key(change.key)? else {
            return Ok(());
        };
        let target = self.user_nid_or_insert(&user_id)?;
        let old = self.member(room, target)?;
        let was_joined = old
            .as_ref()
            .is_some_and(|member| member.membership == MembershipState::Join);
        let sql = "SELECT server_nid FROM users WHERE user_nid = ?1";
        let server = self.one(sql, [target], |row| row.get(0))?;
        let membership = if let Some(event) = change.event {
            let membership = self.event_membership(event)?;
            self.upsert_member(room, target, &membership, event, seq)?;
            membership
        } else {
            let sql = "DELETE FROM members WHERE room_nid = ?1 AND user_nid = ?2";
            self.execute(sql, params![room, target])?;
            MembershipState::Leave
        };
        if server == ServerNid::OWN {
            self.announce(Topic::User(target));
            // What the user could see of the room from outside is of no more use.
            if old.is_some() && membership != MembershipState::Invite {
                self.delete_stripped_state(room, target)?;
            }
        }
        let is_joined = membership == MembershipState::Join;
        match (was_joined, is_joined) {
            (false, true) => self.count_join(room, server, seq),
            (true, false) => self.count_leave(room, server, seq),
            (false, false) if old.is_some() && membership != MembershipState::Invite => {
                self.tell_absent_server(room, server, seq)
            }
            _ => Ok(()),
        }
    }

    /// Makes members of other servers members since an earlier position. To clients they are no news.
    pub(super) fn date_back_members(
        &mut self,
        room: RoomNid,
        entries: &[StateChange],
        seq: Position,
    ) -> Result<()> {
        let sql = "UPDATE members SET seq = ?3 WHERE room_nid = ?1 AND user_nid = \
                   (SELECT u.user_nid FROM state_keys k JOIN users u ON u.user_id = k.state_key \
                    WHERE k.state_key_nid = ?2 AND k.event_type = 'm.room.member' AND u.server_nid <> ?4)";
        for entry in entries {
            self.execute(sql, params![room, entry.key, seq, ServerNid::OWN])?;
        }
        Ok(())
    }

    /// The user whose membership a state entry is about, if it is about any.
    fn member_key(&self, key: StateKeyNid) -> Result<Option<OwnedUserId>> {
        let sql = "SELECT state_key FROM state_keys WHERE state_key_nid = ?1 AND event_type = 'm.room.member'";
        let state_key: Option<String> = self.optional(sql, [key], |row| row.get(0))?;
        // The auth rules let no other state key into a state; what is none is nobody's membership.
        Ok(state_key.and_then(|state_key| state_key.try_into().ok()))
    }

    fn event_membership(&self, event: EventNid) -> Result<MembershipState> {
        let sql = "SELECT membership FROM events WHERE event_nid = ?1";
        let membership: Option<String> = self.one(sql, [event], |row| row.get(0))?;
        Ok(membership.map_or(MembershipState::Leave, MembershipState::from))
    }
}

fn read_member(row: &Row<'_>) -> rusqlite::Result<Member> {
    let membership: String = row.get("membership")?;
    Ok(Member {
        room: row.get("room_nid")?,
        user: row.get("user_nid")?,
        membership: membership.into(),
        event: row.get("event_nid")?,
        seq: row.get("seq")?,
        forgotten: row.get("forgotten")?,
    })
}
