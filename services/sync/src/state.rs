//! The state that goes with a timeline.

use std::collections::HashSet;

use luxchat_store::{
    ClientRow, Coordinate, Position, ReadTx, RoomNid, StateKeyNid, StateSelection, UserNid,
};
use ruma::{OwnedEventId, api::client::filter::RoomEventFilter, events::StateEventType};
use serde::Deserialize;

use crate::{
    Result,
    client_event::Fields,
    filter::{looks_at_events, wants_event},
};

/// Which state a client is told.
#[derive(Debug)]
pub(crate) struct StateRequest<'s> {
    pub(crate) room: RoomNid,
    /// Up to where the client knows the state; `None`: not at all.
    pub(crate) known: Option<Position>,
    /// The state to tell: the room's current one, or that at which the user left, with its position.
    pub(crate) end: Option<(Coordinate, Position)>,
    /// The events that the client gets besides, oldest first, and whether some are missing before them.
    pub(crate) timeline: &'s [ClientRow],
    pub(crate) is_limited: bool,
    /// Whether to tell the state after the timeline, not before it.
    pub(crate) after_timeline: bool,
    pub(crate) filter: &'s RoomEventFilter,
    /// With lazy loading: whose memberships to tell even where the timeline does not need them.
    pub(crate) members: Vec<UserNid>,
}

/// State to tell.
#[derive(Debug)]
pub(crate) struct StateUpdate {
    pub(crate) rows: Vec<ClientRow>,
    /// Whether a membership is among what changed, told or not.
    pub(crate) members_changed: bool,
}

impl StateRequest<'_> {
    pub(crate) fn read(self, tx: &ReadTx<'_>) -> Result<StateUpdate> {
        let lazy = !self.filter.lazy_load_options.is_disabled();
        let mut rows = self.end_state(tx, lazy)?;
        let in_timeline: HashSet<StateKeyNid> = self
            .timeline
            .iter()
            .filter_map(|row| row.state_key)
            .collect();
        let members_changed = self.known.is_none()
            || rows.iter().any(|row| row.is_membership)
            || self.timeline.iter().any(|row| row.is_membership);
        if lazy {
            rows.retain(|row| !row.is_membership);
            rows.extend(self.lazy_members(tx)?);
        }
        if !self.after_timeline {
            rows = self.rewound(tx, rows, &in_timeline)?;
        }
        if looks_at_events(self.filter) {
            let mut wanted = Vec::with_capacity(rows.len());
            for row in rows {
                if wants_event(self.filter, &Fields::parse(&row.json)?) {
                    wanted.push(row);
                }
            }
            rows = wanted;
        }
        Ok(StateUpdate {
            rows,
            members_changed,
        })
    }

    /// The entries that the client does not know, as they stand in the end.
    fn end_state(&self, tx: &ReadTx<'_>, lazy: bool) -> Result<Vec<ClientRow>> {
        let Some((end, position)) = self.end else {
            let which = match self.known {
                Some(known) => StateSelection::ChangedAfter(known),
                None if lazy => StateSelection::WithoutMembers,
                None => StateSelection::All,
            };
            return Ok(tx.client_state(self.room, which)?);
        };
        let events: Vec<_> = match self.known {
            Some(known) => {
                let changes = tx.current_state_changes(self.room, known, position)?;
                changes
                    .into_iter()
                    .filter_map(|change| change.event)
                    .collect()
            }
            None => tx.state_at(end)?.into_values().collect(),
        };
        let rows = events
            .into_iter()
            .map(|event| tx.client_event_by_nid(event));
        Ok(rows.collect::<luxchat_store::Result<_>>()?)
    }

    /// The memberships without which the client cannot show the timeline. They are told whether the client knows them or
    /// not: what it was told before is not remembered here.
    fn lazy_members(&self, tx: &ReadTx<'_>) -> Result<Vec<ClientRow>> {
        let senders = self.timeline.iter().map(|row| row.sender);
        let users: HashSet<UserNid> = senders.chain(self.members.iter().copied()).collect();
        let mut rows = Vec::with_capacity(users.len());
        for user in users {
            if let Some(member) = tx.member(self.room, user)? {
                rows.push(tx.client_event_by_nid(member.event)?);
            } else {
                rows.extend(self.claimed_member(tx, user)?);
            }
        }
        Ok(rows)
    }

    /// The membership that an event of the timeline names as its authority, of a sender who is missing from the room's
    /// state.
    fn claimed_member(&self, tx: &ReadTx<'_>, user: UserNid) -> Result<Option<ClientRow>> {
        #[derive(Deserialize)]
        struct Event {
            auth_events: Vec<OwnedEventId>,
        }
        let Some(row) = self.timeline.iter().find(|row| row.sender == user) else {
            return Ok(None);
        };
        if !tx.room(self.room)?.is_partial() {
            return Ok(None);
        }
        let user_id = tx.user_id(user)?;
        let key = tx.state_key_nid(&StateEventType::RoomMember, user_id.as_str())?;
        let event: Event = serde_json::from_str(&row.json)
            .map_err(|error| luxchat_store::Error::invalid("event", error))?;
        for event_id in event.auth_events {
            if let Some(nid) = tx.event_nid(self.room, &event_id)? {
                let named = tx.client_event_by_nid(nid)?;
                if named.is_membership && named.state_key == key {
                    return Ok(Some(named));
                }
            }
        }
        Ok(None)
    }

    /// Takes back what the timeline does: its entries as they stood before it, left out where the client knows them.
    fn rewound(
        &self,
        tx: &ReadTx<'_>,
        rows: Vec<ClientRow>,
        in_timeline: &HashSet<StateKeyNid>,
    ) -> Result<Vec<ClientRow>> {
        let start = self.timeline.first().and_then(|row| row.before);
        let mut rewound = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(key) = row.state_key else { continue };
            if !in_timeline.contains(&key) {
                rewound.push(row);
                continue;
            }
            // Nothing lies between what the client knows and the timeline, which says the rest.
            if self.known.is_some() && !self.is_limited {
                continue;
            }
            let before = match start {
                Some(start) => tx.state_nid_at(start, key)?,
                None => None,
            };
            if let Some(before) = before {
                let before = tx.client_event_by_nid(before)?;
                if self.known.is_none_or(|known| before.seq > known) {
                    rewound.push(before);
                }
            }
        }
        Ok(rewound)
    }
}
