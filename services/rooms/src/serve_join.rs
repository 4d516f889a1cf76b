//! Letting users of other servers into rooms.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use luxchat_store::{EventNid, ReadTx, RoomNid, UserNid};
use ruma::{
    EventId, OwnedServerName, OwnedUserId, RoomId, ServerName,
    events::{StateEventType, room::member::MembershipState},
};
use serde_json::value::RawValue;

use crate::{Error, Result, Rooms, resolve::State, serve_membership::Asked};

/// Members that a room without a name is named after.
const HEROES: u32 = 5;

/// What a server needs to know of a room that it joins.
#[derive(Clone, Debug)]
pub struct JoinedRoom {
    /// The join with this server's signature.
    pub event: Box<RawValue>,
    /// The state before it, with few or no members where they are left out.
    pub state: Vec<Box<RawValue>>,
    /// What authorises the state and the join, without what is in the state where members are left out.
    pub auth_chain: Vec<Box<RawValue>>,
    /// The servers that were in the room before.
    pub servers: Vec<OwnedServerName>,
}

impl Rooms {
    /// Takes in the join of a user of the asking server. With `omit_members`, what it is told of the room's members is what
    /// it needs to name the room and to check the join.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where this server is not in the room, [`Error::InvalidParam`] for anything but such an event,
    /// [`Error::Forbidden`] by the room's rules; for restricted rooms also [`Error::UnableToAuthoriseJoin`] and
    /// [`Error::UnableToGrantJoin`].
    pub async fn send_join(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
        omit_members: bool,
    ) -> Result<JoinedRoom> {
        let room_id_before = room_id.to_owned();
        let servers = self
            .store
            .read(move |tx| {
                let room = tx
                    .room_by_id(&room_id_before)?
                    .ok_or(Error::NotFound("room"))?;
                let servers = tx.servers_in_room(room.nid)?;
                Ok::<_, Error>(servers.into_iter().map(|(_, server)| server).collect())
            })
            .await?;
        let asked = Asked {
            origin,
            room_id,
            membership: &MembershipState::Join,
        };
        let (inbound, pdu) = self.take_in_membership(asked, event_id, event).await?;
        self.store
            .read(move |tx| {
                let join = tx.event(inbound.room.nid, pdu.event_id())?;
                let join = join.ok_or(Error::NotFound("event"))?;
                let before = join.before.ok_or(Error::NotFound("event"))?;
                let state = tx.state_at(before)?;
                let state = if omit_members {
                    without_members(tx, inbound.room.nid, state, join.sender)?
                } else {
                    state.into_values().collect()
                };
                let mut authorised = state.clone();
                authorised.push(join.nid);
                let mut auth_chain = tx.auth_chain(&authorised)?;
                if omit_members {
                    for event in &state {
                        auth_chain.remove(event);
                    }
                }
                Ok(JoinedRoom {
                    event: raw(join.json)?,
                    state: raw_events(tx, state)?,
                    auth_chain: raw_events(tx, auth_chain)?,
                    servers,
                })
            })
            .await
    }
}

/// A state without memberships, but for those of the joining user and of the members whom clients name the room after
/// where it has no name.
fn without_members(
    tx: &ReadTx<'_>,
    room: RoomNid,
    mut state: State,
    user: UserNid,
) -> Result<Vec<EventNid>> {
    let mut kept: Vec<OwnedUserId> = vec![tx.user_id(user)?];
    if !has_name(tx, &state)? {
        let present = [&MembershipState::Join, &MembershipState::Invite];
        kept.extend(tx.some_members(room, user, present, HEROES)?);
    }
    let mut members = tx.membership_keys(state.keys().copied())?;
    for user in kept {
        if let Some(key) = tx.state_key_nid(&StateEventType::RoomMember, user.as_str())? {
            members.remove(&key);
        }
    }
    state.retain(|key, _| !members.contains(key));
    Ok(state.into_values().collect())
}

fn has_name(tx: &ReadTx<'_>, state: &State) -> Result<bool> {
    for event_type in [StateEventType::RoomName, StateEventType::RoomCanonicalAlias] {
        let key = tx.state_key_nid(&event_type, "")?;
        if key.is_some_and(|key| state.contains_key(&key)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The JSON of events.
pub(crate) fn raw_events(
    tx: &ReadTx<'_>,
    events: impl IntoIterator<Item = EventNid>,
) -> Result<Vec<Box<RawValue>>> {
    events
        .into_iter()
        .map(|event| raw(tx.event_by_nid(event)?.json))
        .collect()
}

/// The JSON of an event.
pub(crate) fn raw(json: String) -> Result<Box<RawValue>> {
    RawValue::from_string(json)
        .map_err(|error| luxchat_store::Error::invalid("event", error).into())
}
