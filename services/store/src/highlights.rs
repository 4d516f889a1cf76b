//! What an event that enters a timeline means to those who read the room: who is mentioned, who has read by sending,
//! and which event it relates to.

use ruma::{
    OwnedUserId, UserId,
    events::{
        StateEventType, room::member::MembershipState,
        room::power_levels::RoomPowerLevelsEventContent,
    },
};
use rusqlite::params;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{EventNid, Pdu, Position, ReadTx, Result, RoomNid, UserNid, WriteTx};

/// At most this many mentioned users of one event are told apart.
const MENTIONED_USERS: usize = 100;

/// Longest relation type that is indexed, in bytes.
const REL_TYPE_LENGTH: usize = 255;

/// Where an event has entered a room's timeline.
#[derive(Clone, Copy, Debug)]
pub struct TimelinePlace {
    /// The room.
    pub room: RoomNid,
    /// The event.
    pub event: EventNid,
    /// Its place in the timeline.
    pub pos: i64,
    /// `rooms.notify_count` with this event.
    pub notify_ord: i64,
    /// Who sent it.
    pub sender: UserNid,
    /// Whether this server made it: then its sender has read the room so far.
    pub is_own: bool,
    /// Whether it counts as unread for those who have not seen it.
    pub notifies: bool,
}

impl WriteTx<'_> {
    /// Notes what follows from an event that just entered the timeline, live or backfilled: mentions, relations, and
    /// that its local sender has read the room up to here. Called by whatever inserts an event, once per event.
    pub fn record_highlights(&mut self, pdu: &Pdu, place: TimelinePlace) -> Result<()> {
        let content = pdu.content().get();
        // Two searches of a string cost less than parsing every content.
        if content.contains("\"m.relates_to\"") {
            self.record_relation(content, place)?;
        }
        // A backfilled event is old news.
        if place.pos <= 0 {
            return Ok(());
        }
        match (pdu.state_key(), pdu.membership()) {
            (Some(target), Some(membership)) => {
                return self.record_membership(target, membership, place);
            }
            (Some(_), None) => return Ok(()),
            (None, _) => {}
        }
        if content.contains("\"m.mentions\"") {
            self.record_mentions(content, pdu.sender(), place)?;
        }
        if place.is_own {
            let seq = Position(place.pos);
            self.advance_read_position(place.sender, place.room, place.pos, place.notify_ord, seq)?;
        }
        Ok(())
    }

    fn record_membership(
        &mut self,
        target: &str,
        membership: &MembershipState,
        place: TimelinePlace,
    ) -> Result<()> {
        let Ok(target) = <&UserId>::try_from(target) else {
            return Ok(());
        };
        let Some(user) = self.local_user_nid(target)? else {
            return Ok(());
        };
        if *membership == MembershipState::Join {
            self.start_read_position(user, place.room, place.pos, place.notify_ord)
        } else {
            self.forget_read_position(user, place.room)
        }
    }

    fn record_mentions(
        &mut self,
        content: &str,
        sender: &UserId,
        place: TimelinePlace,
    ) -> Result<()> {
        let Some(mentions) = field::<Mentions>(content, |fields| fields.mentions) else {
            return Ok(());
        };
        for user_id in mentions.user_ids.iter().take(MENTIONED_USERS) {
            if let Some(user) = self.local_user_nid(user_id)?
                && user != place.sender
                && self.is_joined(place.room, user)?
            {
                self.execute(
                    "INSERT INTO highlights (user_nid, room_nid, pos) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO NOTHING",
                    params![user, place.room, place.pos],
                )?;
            }
        }
        if mentions.room && self.may_notify_room(place.room, sender)? {
            self.execute(
                "INSERT INTO room_highlights (room_nid, pos) VALUES (?1, ?2)
                 ON CONFLICT DO NOTHING",
                params![place.room, place.pos],
            )?;
        }
        Ok(())
    }

    fn record_relation(&mut self, content: &str, place: TimelinePlace) -> Result<()> {
        let Some(relation) = field::<Relation>(content, |fields| fields.relates_to) else {
            return Ok(());
        };
        if relation.rel_type.len() > REL_TYPE_LENGTH {
            return Ok(());
        }
        self.execute(
            "INSERT INTO event_relations (room_nid, parent_id, pos, child_nid, rel_type, notifies)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            params![
                place.room,
                relation.event_id.as_str(),
                place.pos,
                place.event,
                relation.rel_type,
                place.notifies,
            ],
        )?;
        Ok(())
    }
}

impl ReadTx<'_> {
    fn local_user_nid(&self, user_id: &UserId) -> Result<Option<UserNid>> {
        let sql = "SELECT user_nid FROM users WHERE user_id = ?1 AND server_nid = 1";
        self.optional(sql, [user_id.as_str()], |row| row.get(0))
    }

    /// Whether a user has the power to notify everyone in the room. The creators of newer room versions stand above the
    /// power levels.
    fn may_notify_room(&self, room: RoomNid, sender: &UserId) -> Result<bool> {
        let levels = self.current_state_event(room, &StateEventType::RoomPowerLevels, "")?;
        let levels: Option<PowerLevels> =
            levels.and_then(|levels| serde_json::from_str(&levels.json).ok());
        let Some(PowerLevels { content: levels }) = levels else {
            return Ok(false);
        };
        let power = levels
            .users
            .get(sender)
            .copied()
            .unwrap_or(levels.users_default);
        Ok(power >= levels.notifications.room || self.is_privileged_creator(room, sender)?)
    }

    fn is_privileged_creator(&self, room: RoomNid, user: &UserId) -> Result<bool> {
        let Some(rules) = self.room(room)?.version.rules() else {
            return Ok(false);
        };
        if !rules.authorization.explicitly_privilege_room_creators {
            return Ok(false);
        }
        let create = self.current_state_event(room, &StateEventType::RoomCreate, "")?;
        let create: Option<Create> =
            create.and_then(|create| serde_json::from_str(&create.json).ok());
        Ok(create.is_some_and(|create| {
            create.sender == user
                || create
                    .content
                    .additional_creators
                    .iter()
                    .any(|id| id == user)
        }))
    }
}

#[derive(Deserialize)]
struct PowerLevels {
    content: RoomPowerLevelsEventContent,
}

#[derive(Deserialize)]
struct Create {
    sender: OwnedUserId,
    content: CreateContent,
}

#[derive(Deserialize)]
struct CreateContent {
    #[serde(default)]
    additional_creators: Vec<OwnedUserId>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, rename = "m.mentions")]
    mentions: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "m.relates_to")]
    relates_to: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Mentions {
    #[serde(default)]
    user_ids: Vec<OwnedUserId>,
    #[serde(default)]
    room: bool,
}

#[derive(Deserialize)]
struct Relation {
    rel_type: String,
    event_id: ruma::OwnedEventId,
}

/// One field of a content, where it is there and has the right shape: nobody has checked the content of others.
fn field<'a, T: Deserialize<'a>>(
    content: &'a str,
    pick: impl FnOnce(Fields<'a>) -> Option<&'a RawValue>,
) -> Option<T> {
    let fields = serde_json::from_str(content).ok()?;
    serde_json::from_str(pick(fields)?.get()).ok()
}
