//! Fetching history from before this server was in a room, or while it was away.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events>

use std::{collections::HashMap, sync::Arc, time::Duration};

use luxchat_store::{Coordinate, Event, EventStatus, Pdu, ReadTx, RoomNid, Stretch, WriteTx};
use ruma::{OwnedEventId, OwnedServerName, RoomId, UInt, api::federation::backfill::get_backfill};

use crate::{
    Error, Origin, PduError, Placement, Result, Rooms, append,
    backfill_plan::{Place, Plan},
    ordering::parents_first,
    receive::Inbound,
    receive_checks::verify_answer,
    resolve::State,
};

/// Missing events asked for at once.
const MAX_FROM: usize = 10;

/// Missing events looked at.
const MAX_GAPS: usize = 200;

/// Servers asked in turn.
const MAX_SERVERS: usize = 3;

/// Events asked for at most.
const MAX_EVENTS: usize = 100;

/// How long one of them may take, with all that is fetched because of what it says.
const TIME: Duration = Duration::from_mins(1);

/// What is missing in a room's timeline.
struct Gap {
    room: RoomNid,
    /// The place of the event that it comes before; `None` for the beginning of the timeline.
    ahead_of: Option<i64>,
    missing: Vec<OwnedEventId>,
    /// The state before an event that follows what is missing.
    near: Coordinate,
    servers: Vec<OwnedServerName>,
}

impl Rooms {
    /// Fetches at most `limit` of the events before the oldest ones that this server has of a room, and says how many it
    /// got. Zero where there are none, or nobody has them.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where this server does not hold the room.
    pub async fn backfill(&self, room_id: &RoomId, limit: usize) -> Result<usize> {
        self.fill(room_id, None, limit).await
    }

    /// The same of the newest gap in the timeline that comes before an event at `place` or before.
    ///
    /// # Errors
    ///
    /// As [`backfill`](Self::backfill).
    pub async fn backfill_before(
        &self,
        room_id: &RoomId,
        place: i64,
        limit: usize,
    ) -> Result<usize> {
        self.fill(room_id, Some(place), limit).await
    }

    async fn fill(&self, room_id: &RoomId, place: Option<i64>, limit: usize) -> Result<usize> {
        let Some(gap) = self.gap(room_id, place).await? else {
            return Ok(0);
        };
        for server in &gap.servers {
            let filled = self.backfill_from(server, room_id, &gap, limit);
            let filled = tokio::time::timeout(TIME, filled).await;
            match filled.unwrap_or(Err(Error::Pdu(PduError::Limit(
                "the time to fetch history",
            )))) {
                Ok(0) => {}
                Ok(count) => return Ok(count),
                Err(error) => tracing::info!(%server, %room_id, %error, "no history to be had"),
            }
        }
        Ok(0)
    }

    async fn gap(&self, room_id: &RoomId, place: Option<i64>) -> Result<Option<Gap>> {
        let room_id = room_id.to_owned();
        let own = self.server_name().to_owned();
        self.store
            .read(move |tx| {
                let room = tx.room_by_id(&room_id)?.ok_or(Error::NotFound("room"))?.nid;
                let found = match place {
                    Some(place) => gap_before(tx, room, place)?,
                    None => oldest_gap(tx, room)?.map(|(missing, child)| (None, missing, child)),
                };
                let Some((ahead_of, missing, child)) = found else {
                    return Ok(None);
                };
                let near = child.before.ok_or(Error::NotFound("event"))?;
                let mut servers = vec![child.pdu()?.sender().server_name().to_owned()];
                for (_, server) in tx.servers_in_room(room)? {
                    if !servers.contains(&server) {
                        servers.push(server);
                    }
                }
                servers.retain(|server| *server != own);
                servers.truncate(MAX_SERVERS);
                Ok(Some(Gap {
                    room,
                    ahead_of,
                    missing,
                    near,
                    servers,
                }))
            })
            .await
    }

    async fn backfill_from(
        &self,
        server: &OwnedServerName,
        room_id: &RoomId,
        gap: &Gap,
        limit: usize,
    ) -> Result<usize> {
        let inbound = self.inbound(server, room_id).await?;
        let inbound = inbound.ok_or(Error::NotFound("room"))?;
        let limit = u32::try_from(limit.min(MAX_EVENTS)).unwrap_or(u32::MAX);
        let request = get_backfill::v1::Request::new(
            room_id.to_owned(),
            gap.missing.clone(),
            UInt::from(limit),
        );
        let answer = self.federation.request(server, request).await?;
        let mut events = answer.pdus;
        events.truncate(MAX_EVENTS);
        let verified = verify_answer(&self.federation, events, &inbound.rules).await?;
        let mut needed = Vec::new();
        for event in &verified {
            needed.extend(event.auth_events());
        }
        self.fetch_outliers(&inbound, needed).await?;
        let own: Vec<OwnedEventId> = verified
            .iter()
            .map(|event| event.event_id.clone())
            .collect();
        let pdus: Vec<Arc<Pdu>> = verified
            .iter()
            .filter_map(|event| event.clone().into_pdu().ok())
            .filter(|pdu| pdu.room_id() == room_id)
            .collect();
        self.store_outliers(inbound.room.nid, &inbound.rules, verified)
            .await?;
        let pdus = self.unplaced(gap.room, own.clone(), pdus).await?;
        let pdus = parents_first(pdus, |pdu| pdu.event_id(), |pdu| pdu.prev_events());
        let states = self.states_before(&inbound, &pdus).await?;
        // From here on nothing is fetched any more, and what somebody else has placed meanwhile is left out.
        let _turn = self.room_turns.take(room_id).await;
        let pdus = self.unplaced(gap.room, own, pdus).await?;
        let (room, rules, near) = (gap.room, inbound.rules.clone(), gap.near);
        let ahead_of = gap.ahead_of;
        let plan = self
            .store
            .read(move |tx| Plan::make(tx, room, &rules, near, &pdus, &states))
            .await?;
        self.store
            .write(move |tx| place(tx, room, ahead_of, plan))
            .await
    }

    /// The events that are outliers here so far.
    async fn unplaced(
        &self,
        room: RoomNid,
        own: Vec<OwnedEventId>,
        pdus: Vec<Arc<Pdu>>,
    ) -> Result<Vec<Arc<Pdu>>, PduError> {
        self.store
            .read(move |tx| {
                let mut outliers = Vec::with_capacity(own.len());
                for event_id in own {
                    let event = tx.event(room, &event_id)?;
                    if event.is_some_and(|event| event.is_outlier()) {
                        outliers.push(event_id);
                    }
                }
                Ok(pdus
                    .into_iter()
                    .filter(|pdu| outliers.iter().any(|own| own == pdu.event_id()))
                    .collect())
            })
            .await
    }

    /// The states before those events whose parents are neither among the events nor here, as the origin says.
    async fn states_before(
        &self,
        inbound: &Inbound,
        pdus: &[Arc<Pdu>],
    ) -> Result<HashMap<OwnedEventId, State>, PduError> {
        let mut states = HashMap::new();
        for pdu in pdus {
            let others = pdu
                .prev_events()
                .iter()
                .filter(|prev| !pdus.iter().any(|pdu| pdu.event_id() == *prev))
                .cloned()
                .collect();
            if !self.all_placed(inbound.room.nid, others).await? {
                let event_id = pdu.event_id().to_owned();
                let state = self.state_before_missing(inbound, &event_id).await?;
                states.insert(event_id, state);
            }
        }
        Ok(states)
    }

    async fn all_placed(&self, room: RoomNid, events: Vec<OwnedEventId>) -> Result<bool, PduError> {
        self.store
            .read(move |tx| {
                for event_id in events {
                    if tx.state_after(room, &event_id)?.is_none() {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
            .await
    }
}

/// A gap's place, what is missing in it, and one of the events that follow it.
type Found = (Option<i64>, Vec<OwnedEventId>, Event);

/// The newest gap before an event at `place` or before. `None` where there is none, or no place in it is free.
fn gap_before(tx: &ReadTx<'_>, room: RoomNid, place: i64) -> Result<Option<Found>> {
    let until = Stretch {
        after: i64::MIN,
        until: place,
    };
    let Some(newest) = tx.newest_gap(room, until)? else {
        return Ok(None);
    };
    let Some(free) = tx.free_place_before(room, newest)? else {
        return Ok(None);
    };
    // What was fetched before lies between the two, and may lack parents as well.
    let fetched = Stretch {
        after: free,
        until: newest,
    };
    let missing = tx.missing_prevs_in(room, fetched, MAX_FROM)?;
    let child = tx.timeline_forwards(room, free, newest, 1)?.pop();
    let is_beginning = tx.oldest_pos(room)?.is_none_or(|oldest| oldest > free);
    let ahead_of = (!is_beginning).then_some(free + 1);
    Ok(child.map(|child| (ahead_of, missing, child)))
}

/// What is missing before the beginning of a room's timeline, with one of the events that follow it.
fn oldest_gap(tx: &ReadTx<'_>, room: RoomNid) -> Result<Option<(Vec<OwnedEventId>, Event)>> {
    let oldest = tx.oldest_pos(room)?;
    let mut missing = Vec::new();
    let mut child = None;
    for (event_id, child_id) in tx.missing_prevs(room, MAX_GAPS)? {
        let Some(event) = tx.event(room, &child_id)? else {
            continue;
        };
        let is_beginning = event.pos.is_some_and(|pos| pos < 0) || event.pos == oldest;
        if is_beginning && missing.len() < MAX_FROM && !missing.contains(&event_id) {
            missing.push(event_id);
            child.get_or_insert(event);
        }
    }
    Ok(child.map(|child| (missing, child)))
}

/// Writes the states down, then the events, newest first.
fn place(
    tx: &mut WriteTx<'_>,
    room: RoomNid,
    mut ahead_of: Option<i64>,
    plan: Plan,
) -> Result<usize> {
    let mut room = tx.room(room)?;
    let coordinates = plan.record_states(tx, &room)?;
    let mut count = 0;
    for Place {
        event,
        before,
        after,
    } in plan.places.into_iter().rev()
    {
        let (before, after) = (coordinates[before], coordinates[after]);
        let placement = match event.status() {
            EventStatus::Rejected => Placement::Unseen { before },
            EventStatus::Accepted | EventStatus::SoftFailed => Placement::Backfilled {
                ahead_of,
                before,
                after,
            },
        };
        let inserted = append(tx, &mut room, &event, placement, Origin::Remote)?;
        if let Some(pos) = inserted.and_then(|inserted| inserted.pos) {
            count += 1;
            ahead_of = ahead_of.map(|_| pos);
        }
    }
    Ok(count)
}
