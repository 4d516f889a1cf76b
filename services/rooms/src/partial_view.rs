//! How a room looks whose state lacks members: what its events say of them is believed until the rest is here.

use std::{collections::HashSet, sync::Arc};

use luxchat_store::{Coordinate, EventNid, Pdu, ReadTx, Room, RoomNid, StateKeyNid};
use ruma::{
    EventId, OwnedEventId,
    events::{StateEventType, TimelineEventType},
};

use crate::{PduError, resolve::State};

/// The state after an event that stands just before the graph that this server has: the only parent of the join that
/// brought the server here.
#[derive(Clone, Debug)]
pub(crate) struct Threshold {
    pub(crate) parent: OwnedEventId,
    pub(crate) after: Coordinate,
}

impl Threshold {
    /// That of a room whose state lacks members, if it has any.
    pub(crate) fn of(tx: &ReadTx<'_>, room: &Room) -> Result<Option<Self>, PduError> {
        if !room.is_partial() {
            return Ok(None);
        }
        let Some(partial) = tx.partial_room(room.nid)? else {
            return Ok(None);
        };
        let join = tx.event_by_nid(partial.join)?;
        let before = join.before;
        let pdu = join.into_pdu()?;
        Ok(match (pdu.prev_events(), before) {
            ([parent], Some(after)) => Some(Self {
                parent: parent.clone(),
                after,
            }),
            _ => None,
        })
    }
}

/// The state after an event, as far as it is known here.
pub(crate) fn state_after(
    tx: &ReadTx<'_>,
    room: RoomNid,
    threshold: Option<&Threshold>,
    event_id: &EventId,
) -> Result<Option<Coordinate>, PduError> {
    let known = tx.state_after(room, event_id)?;
    let threshold = threshold.filter(|threshold| threshold.parent == event_id);
    Ok(known.or(threshold.map(|threshold| threshold.after)))
}

/// The membership that an event names as its authority, for a state that has no such entry.
pub(crate) fn claimed(
    tx: &ReadTx<'_>,
    room: RoomNid,
    pdu: &Pdu,
    event_type: &StateEventType,
    state_key: &str,
) -> luxchat_store::Result<Option<Arc<Pdu>>> {
    if *event_type != StateEventType::RoomMember {
        return Ok(None);
    }
    for event_id in pdu.auth_events() {
        let named = tx.pdu(room, event_id)?;
        if let Some(named) =
            named.filter(|it| it.is_state(&TimelineEventType::RoomMember, state_key))
        {
            return Ok(Some(Arc::new(named)));
        }
    }
    Ok(None)
}

/// Adds to states that lack members those of the other ones, so that nobody seems to have left by being unknown.
pub(crate) fn add_missing_members(
    tx: &ReadTx<'_>,
    states: &mut [State],
    others: &[&State],
) -> Result<(), PduError> {
    let keys: HashSet<StateKeyNid> = others
        .iter()
        .flat_map(|state| state.keys())
        .copied()
        .collect();
    let members = tx.membership_keys(keys)?;
    for state in states {
        for other in others {
            let missing: Vec<(StateKeyNid, EventNid)> = other
                .iter()
                .filter(|(key, _)| members.contains(key) && !state.contains_key(key))
                .map(|(key, event)| (*key, *event))
                .collect();
            state.extend(missing);
        }
    }
    Ok(())
}
