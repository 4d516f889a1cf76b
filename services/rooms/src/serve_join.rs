//! Letting users of other servers into rooms.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use luxchat_store::{EventNid, ReadTx};
use ruma::{EventId, OwnedServerName, RoomId, ServerName, events::room::member::MembershipState};
use serde_json::value::RawValue;

use crate::{Error, Result, Rooms, serve_membership::Asked};

/// What a server needs to know of a room that it joins.
#[derive(Clone, Debug)]
pub struct JoinedRoom {
    /// The join with this server's signature.
    pub event: Box<RawValue>,
    /// The state before it.
    pub state: Vec<Box<RawValue>>,
    /// What authorises the state and the join.
    pub auth_chain: Vec<Box<RawValue>>,
    /// The servers that were in the room before.
    pub servers: Vec<OwnedServerName>,
}

impl Rooms {
    /// Takes in the join of a user of the asking server.
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
                let state: Vec<EventNid> = tx.state_at(before)?.into_values().collect();
                let mut authorised = state.clone();
                authorised.push(join.nid);
                let auth_chain = tx.auth_chain(&authorised)?;
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
