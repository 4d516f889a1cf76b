//! A room in the middle of a write: events of this server's users, one on top of the other.

use luxchat_store::{EventNid, Room, WriteTx};
use ruma::{
    OwnedEventId, RoomId, RoomVersionId, UserId, events::room::member::MembershipState,
    room_version_rules::RoomVersionRules,
};

use crate::{
    Authorised, CurrentState, Error, Origin, Placement, Result, Rooms, Unsigned, append,
    draft::Draft,
    policy_server::{is_recommended, policy_of},
    power::Power,
    rules_of,
};

/// A room that this server holds, on the writer's thread. Nothing else happens to it meanwhile.
pub(crate) struct RoomWriter<'a, 'c> {
    pub(crate) rooms: &'a Rooms,
    pub(crate) tx: &'a mut WriteTx<'c>,
    pub(crate) room: Room,
}

/// An event that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) nid: EventNid,
    pub(crate) event_id: OwnedEventId,
}

impl<'a, 'c> RoomWriter<'a, 'c> {
    /// A room that a user of this server is in.
    ///
    /// # Errors
    ///
    /// [`Error::RoomNotResident`] where none is.
    pub(crate) fn open(
        rooms: &'a Rooms,
        tx: &'a mut WriteTx<'c>,
        room_id: &RoomId,
    ) -> Result<Self> {
        let room = tx.room_by_id(room_id)?;
        match room {
            Some(room) if room.current.is_some() && tx.is_resident(room.nid)? => {
                Ok(Self { rooms, tx, room })
            }
            _ => Err(Error::RoomNotResident(room_id.to_owned())),
        }
    }

    /// A new room with nothing but its create event, made from `draft`.
    pub(crate) fn create(
        rooms: &'a Rooms,
        tx: &'a mut WriteTx<'c>,
        version: &RoomVersionId,
        draft: &Draft,
    ) -> Result<Self> {
        let rules = rules_of(version)?;
        let is_hash = rules.authorization.room_create_event_id_as_room_id;
        let room_id = (!is_hash).then(|| RoomId::new_v1(rooms.server_name()));
        let event = first_of_its_id(rooms, tx, draft, room_id.as_deref(), &rules)?;
        let room_id = event.pdu().room_id();
        let nid = tx.insert_room(room_id, version)?;
        let before = tx.open_main_chain(nid)?;
        let mut room = tx.room(nid)?;
        let current = CurrentState::Follows;
        append(
            tx,
            &mut room,
            &event,
            Placement::Live { before, current },
            Origin::Own,
        )?;
        Ok(Self { rooms, tx, room })
    }

    /// Builds, authorises, signs and appends an event.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`], [`Error::TooLarge`]; [`Error::Unsigned`] where a policy server has to sign first, which
    /// [`Rooms::once_signed`] sees to.
    pub(crate) fn send(&mut self, draft: &Draft) -> Result<Sent> {
        self.send_at(draft, self.tx.now_ms())
    }

    /// The same, as if it were sent at a time (milliseconds since the Unix epoch).
    pub(crate) fn send_at(&mut self, draft: &Draft, now_ms: u64) -> Result<Sent> {
        let event = self.rooms.build(self.tx, &self.room, draft, now_ms)?;
        if let Some(policy) = policy_of(self.tx, &self.room)?
            && !is_recommended(&policy, event.pdu(), &rules_of(&self.room.version)?)?
        {
            // No network on the writer's thread: the caller sees to it.
            return Err(Error::Unsigned(Box::new(Unsigned {
                draft: draft.clone(),
                sent_ms: now_ms,
            })));
        }
        let before = self
            .room
            .current
            .ok_or_else(|| Error::RoomNotResident(self.room.room_id.clone()))?;
        let placement = Placement::Live {
            before,
            current: CurrentState::Follows,
        };
        let event_id = event.pdu().event_id().to_owned();
        match append(self.tx, &mut self.room, &event, placement, Origin::Own)? {
            Some(inserted) => Ok(Sent {
                nid: inserted.nid,
                event_id,
            }),
            // Same content, same sender, same parents, same millisecond: the very same event.
            None => Err(Error::Internal(format!("event {event_id} exists"))),
        }
    }

    /// The membership of a user in the room's current state.
    pub(crate) fn membership(&self, user: &UserId) -> Result<MembershipState> {
        let member = match self.tx.user_nid(user)? {
            Some(user) => self.tx.member(self.room.nid, user)?,
            None => None,
        };
        Ok(member.map_or(MembershipState::Leave, |member| member.membership))
    }

    /// The power levels in the room's current state.
    pub(crate) fn power(&self) -> Result<Power> {
        match self.room.current {
            Some(current) => Power::at(self.tx, &self.room, current),
            None => Err(Error::RoomNotResident(self.room.room_id.clone())),
        }
    }
}

/// The create event of a room whose id is not taken. Where the id is the event's hash, the same draft in the same
/// millisecond makes the same room: the second one is made a millisecond later.
fn first_of_its_id(
    rooms: &Rooms,
    tx: &WriteTx<'_>,
    draft: &Draft,
    room_id: Option<&RoomId>,
    rules: &RoomVersionRules,
) -> Result<Authorised> {
    let mut now_ms = tx.now_ms();
    loop {
        let event = rooms.build_create(draft, room_id, rules, now_ms)?;
        if tx.room_by_id(event.pdu().room_id())?.is_none() {
            return Ok(event);
        }
        now_ms += 1;
    }
}
