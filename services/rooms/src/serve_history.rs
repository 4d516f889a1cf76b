//! Events, states and history for other servers that are in a room.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#retrieving-events>

use std::{
    collections::{BinaryHeap, HashSet},
    time::Duration,
};

use luxchat_store::{Event, EventNid, EventStatus, ReadTx, Room};
use ruma::{EventId, OwnedEventId, RoomId, ServerName};
use serde_json::value::RawValue;

use crate::{
    Error, Result, Rooms, peer_view::PeerView, serve::open_room_for_member, serve_join::raw_events,
};

/// Events that one request for history is answered with at most.
const MAX_BACKFILL: usize = 100;

/// Events that one request for missing events is answered with at most.
const MAX_MISSING: usize = 50;

/// Events visited for one answer.
const MAX_VISITED: usize = 2_000;

/// How long a server that asks for a state waits for the members that are missing from it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A state with what authorises it.
#[derive(Clone, Debug)]
pub struct AuthorisedState<T> {
    /// The state.
    pub state: Vec<T>,
    /// What authorises it.
    pub auth_chain: Vec<T>,
}

/// A gap that another server wants to close.
#[derive(Clone, Debug)]
pub struct Gap {
    /// Where it begins: events that the server has.
    pub earliest: Vec<OwnedEventId>,
    /// Where it ends: events that the server has, whose parents it wants.
    pub latest: Vec<OwnedEventId>,
    /// How many events it wants.
    pub limit: usize,
    /// The smallest depth that it is interested in.
    pub min_depth: i64,
}

impl Rooms {
    /// An event of a room that the asking server is in.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is none.
    pub async fn serve_event(
        &self,
        origin: &ServerName,
        event_id: &EventId,
    ) -> Result<Box<RawValue>> {
        let (origin, event_id) = (origin.to_owned(), event_id.to_owned());
        self.store
            .read(move |tx| {
                let server = tx.server_nid(&origin)?.ok_or(Error::NotFound("event"))?;
                for room in tx.rooms_of_server(server)? {
                    if let Some(event) = tx.event(room, &event_id)?
                        && event.status != EventStatus::Rejected
                    {
                        let room = open_room_for_member(tx, &origin, &tx.room_id(room)?)?;
                        return PeerView::new(tx, &room, &origin).show(event);
                    }
                }
                Err(Error::NotFound("event"))
            })
            .await
    }

    /// The state before an event, as events.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is no such event in the room's graph, [`Error::Forbidden`] where the asking server
    /// is not in the room, [`Error::Incomplete`] where the room's members are still being fetched.
    pub async fn serve_state(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<AuthorisedState<Box<RawValue>>> {
        self.state_before(origin, room_id, event_id, |tx, events| {
            raw_events(tx, events)
        })
        .await
    }

    /// The state before an event, as ids.
    ///
    /// # Errors
    ///
    /// As [`serve_state`](Self::serve_state).
    pub async fn serve_state_ids(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<AuthorisedState<OwnedEventId>> {
        self.state_before(origin, room_id, event_id, |tx, events| {
            Ok(tx.event_ids(events)?)
        })
        .await
    }

    /// The auth chain of an event.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Forbidden`] where the asking server is not in the room.
    pub async fn serve_event_auth(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<Box<RawValue>>> {
        let (origin, room_id) = (origin.to_owned(), room_id.to_owned());
        let event_id = event_id.to_owned();
        self.store
            .read(move |tx| {
                let room = open_room_for_member(tx, &origin, &room_id)?;
                let pdu = tx
                    .pdu(room.nid, &event_id)?
                    .ok_or(Error::NotFound("event"))?;
                // Those of message events are not indexed.
                let mut named = Vec::new();
                for auth_event in pdu.auth_events() {
                    named.extend(tx.event_nid(room.nid, auth_event)?);
                }
                let mut chain = tx.auth_chain(&named)?;
                chain.extend(named);
                raw_events(tx, chain)
            })
            .await
    }

    /// Events and the events before them, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Forbidden`] where the asking server is not in the room.
    pub async fn serve_backfill(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        from: Vec<OwnedEventId>,
        limit: usize,
    ) -> Result<Vec<Box<RawValue>>> {
        let (origin, room_id) = (origin.to_owned(), room_id.to_owned());
        self.store
            .read(move |tx| {
                let room = open_room_for_member(tx, &origin, &room_id)?;
                let mut walk = Walk::new(tx, &room, Order::DeepestFirst);
                for event_id in from.iter().take(MAX_BACKFILL) {
                    walk.visit(event_id, 0)?;
                }
                let mut view = PeerView::new(tx, &room, &origin);
                let mut events = Vec::new();
                while events.len() < limit.min(MAX_BACKFILL)
                    && let Some(event) = walk.next()?
                {
                    if event.status != EventStatus::Rejected {
                        events.push(view.show(event)?);
                    }
                }
                Ok(events)
            })
            .await
    }

    /// The events in a gap, oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Forbidden`] where the asking server is not in the room.
    pub async fn serve_missing_events(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        gap: Gap,
    ) -> Result<Vec<Box<RawValue>>> {
        let (origin, room_id) = (origin.to_owned(), room_id.to_owned());
        self.store
            .read(move |tx| {
                let room = open_room_for_member(tx, &origin, &room_id)?;
                let mut walk = Walk::new(tx, &room, Order::NearestFirst);
                walk.min_depth = gap.min_depth;
                walk.visited
                    .extend(gap.earliest.iter().chain(&gap.latest).cloned());
                for event_id in gap.latest.iter().take(MAX_MISSING) {
                    if let Some(pdu) = tx.pdu(room.nid, event_id)? {
                        walk.visit_all(pdu.prev_events(), 1)?;
                    }
                }
                let mut view = PeerView::new(tx, &room, &origin);
                let mut events = Vec::new();
                while events.len() < gap.limit.min(MAX_MISSING)
                    && let Some(event) = walk.next()?
                {
                    if event.status != EventStatus::Rejected {
                        events.push(view.show(event)?);
                    }
                }
                events.reverse();
                Ok(events)
            })
            .await
    }

    async fn state_before<T: Send + 'static>(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        render: impl Fn(&ReadTx<'_>, Vec<EventNid>) -> Result<Vec<T>> + Send + 'static,
    ) -> Result<AuthorisedState<T>> {
        let (origin, room_id) = (origin.to_owned(), room_id.to_owned());
        let event_id = event_id.to_owned();
        let (server, id) = (origin.clone(), room_id.clone());
        self.store
            .read(move |tx| open_room_for_member(tx, &server, &id))
            .await?;
        self.await_members(&room_id, PATIENCE).await?;
        self.store
            .read(move |tx| {
                let room = open_room_for_member(tx, &origin, &room_id)?;
                let before = tx
                    .event(room.nid, &event_id)?
                    .and_then(|event| event.before)
                    .ok_or(Error::NotFound("event"))?;
                let state: Vec<EventNid> = tx.state_at(before)?.into_values().collect();
                let auth_chain = tx.auth_chain(&state)?;
                Ok(AuthorisedState {
                    state: render(tx, state)?,
                    auth_chain: render(tx, auth_chain.into_iter().collect())?,
                })
            })
            .await
    }
}

/// What a walk comes to first.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// The newest, as far as their depth tells.
    DeepestFirst,
    /// What is the fewest steps away, whatever depth it claims: parents that are missing come before all that leads on from
    /// others.
    NearestFirst,
}

/// A walk from events to their parents.
struct Walk<'t, 'c> {
    tx: &'t ReadTx<'c>,
    room: &'t Room,
    order: Order,
    /// Events of a smaller depth are left aside.
    min_depth: i64,
    visited: HashSet<OwnedEventId>,
    /// Events with how many steps away they are, by depth or by these; the integer id breaks ties.
    ahead: BinaryHeap<(i64, EventNid, i64)>,
}

impl<'t, 'c> Walk<'t, 'c> {
    fn new(tx: &'t ReadTx<'c>, room: &'t Room, order: Order) -> Self {
        Self {
            tx,
            room,
            order,
            min_depth: i64::MIN,
            visited: HashSet::new(),
            ahead: BinaryHeap::new(),
        }
    }

    fn visit(&mut self, event_id: &EventId, steps: i64) -> Result<()> {
        if self.visited.len() < MAX_VISITED
            && self.visited.insert(event_id.to_owned())
            && let Some(event) = self.tx.event(self.room.nid, event_id)?
            && !event.is_outlier()
        {
            let depth = event.pdu()?.depth();
            if depth >= self.min_depth {
                let rank = match self.order {
                    Order::DeepestFirst => depth,
                    Order::NearestFirst => -steps,
                };
                self.ahead.push((rank, event.nid, steps));
            }
        }
        Ok(())
    }

    fn visit_all(&mut self, events: &[OwnedEventId], steps: i64) -> Result<()> {
        events
            .iter()
            .try_for_each(|event_id| self.visit(event_id, steps))
    }

    /// The first event ahead.
    fn next(&mut self) -> Result<Option<Event>> {
        let Some((_, nid, steps)) = self.ahead.pop() else {
            return Ok(None);
        };
        let event = self.tx.event_by_nid(nid)?;
        self.visit_all(event.pdu()?.prev_events(), steps + 1)?;
        Ok(Some(event))
    }
}
