//! Joins that a membership of another room allows.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms>

use luxchat_store::{ReadTx, Room, ServerNid};
use ruma::room::JoinRuleKind;
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::{StateEventType, room::member::MembershipState},
    state_res::events::RoomJoinRulesEvent,
};
use serde::Deserialize;

use crate::{Error, Result, Rooms, power::Power, rules_of};

/// Rooms named by one join rule that are looked at.
const ALLOWING_ROOMS: usize = 50;

/// What a user who wants to join needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Nothing: an invite, a public room, a membership; or nothing that this question is about.
    Plain,
    /// The word of this user of this server, who could have invited them.
    AuthorisedBy(OwnedUserId),
    /// To be in one of the rooms that the join rule names; they are in none of those that this server knows.
    NotAllowed {
        /// Whether this server is in all of these rooms, so that its word is final.
        knows_all: bool,
    },
    /// Another server: no user of this one may invite.
    Elsewhere,
}

impl Rooms {
    /// What a join of `user` takes in a room that this server is in.
    pub(crate) fn admission(
        &self,
        tx: &ReadTx<'_>,
        room: &Room,
        user: &UserId,
    ) -> Result<Admission> {
        let Some(rule) = self.current_event(tx, room, &StateEventType::RoomJoinRules, "")? else {
            return Ok(Admission::Plain);
        };
        let rules = rules_of(&room.version)?.authorization;
        let restricted = match RoomJoinRulesEvent::new(&*rule).join_rule() {
            Ok(JoinRuleKind::Restricted) => rules.restricted_join_rule,
            Ok(JoinRuleKind::KnockRestricted) => rules.knock_restricted_join_rule,
            _ => false,
        };
        if !restricted || may_join_anyway(tx, room, user)? {
            return Ok(Admission::Plain);
        }
        let allow = rule.content_as::<Content>().map(|content| content.allow);
        let (is_member, knows_all) = is_in_any(tx, user, &rooms_of(allow.unwrap_or_default()))?;
        if !is_member {
            return Ok(Admission::NotAllowed { knows_all });
        }
        Ok(match inviter(tx, room)? {
            Some(inviter) => Admission::AuthorisedBy(inviter),
            None => Admission::Elsewhere,
        })
    }
}

/// A user of this server who may invite others, of those the most powerful.
fn inviter(tx: &ReadTx<'_>, room: &Room) -> Result<Option<OwnedUserId>> {
    let current = room
        .current
        .ok_or_else(|| Error::RoomNotResident(room.room_id.clone()))?;
    let power = Power::at(tx, room, current)?;
    let users = tx.joined_users_of_server(room.nid, ServerNid::OWN)?;
    Ok(users
        .into_iter()
        .map(|(_, user)| user)
        .filter(|user| power.may_invite(user))
        .max_by_key(|user| power.of(user)))
}

fn may_join_anyway(tx: &ReadTx<'_>, room: &Room, user: &UserId) -> Result<bool> {
    let Some(user) = tx.user_nid(user)? else {
        return Ok(false);
    };
    let membership = tx.member(room.nid, user)?.map(|member| member.membership);
    Ok(matches!(
        membership,
        Some(MembershipState::Join | MembershipState::Invite)
    ))
}

/// Whether a user is joined to one of these rooms, and whether this server is in all of them.
fn is_in_any(tx: &ReadTx<'_>, user: &UserId, rooms: &[OwnedRoomId]) -> Result<(bool, bool)> {
    let mut knows_all = true;
    for room_id in rooms {
        let Some(room) = resident_room(tx, room_id)? else {
            knows_all = false;
            continue;
        };
        if let Some(user) = tx.user_nid(user)?
            && tx.is_joined(room.nid, user)?
        {
            return Ok((true, knows_all));
        }
    }
    Ok((false, knows_all))
}

fn resident_room(tx: &ReadTx<'_>, room_id: &RoomId) -> Result<Option<Room>> {
    match tx.room_by_id(room_id)? {
        Some(room) if tx.is_resident(room.nid)? => Ok(Some(room)),
        _ => Ok(None),
    }
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    allow: Vec<serde_json::Value>,
}

/// The rooms of those conditions that this server understands; others it takes as not met.
fn rooms_of(allow: Vec<serde_json::Value>) -> Vec<OwnedRoomId> {
    let room_id = |condition: &serde_json::Value| {
        let is_membership = condition.get("type")? == "m.room_membership";
        let room_id = condition.get("room_id")?.as_str()?;
        is_membership.then(|| RoomId::parse(room_id).ok()).flatten()
    };
    allow
        .iter()
        .filter_map(room_id)
        .take(ALLOWING_ROOMS)
        .collect()
}
