//! The states along a stretch of history.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use luxchat_store::{Coordinate, EventStatus, Pdu, ReadTx, Room, RoomNid, StateChange, WriteTx};
use ruma::{OwnedEventId, room_version_rules::RoomVersionRules};

use crate::{
    Authorised, PduError,
    accept::authorise_against,
    assess::difference,
    resolve::{State, resolve},
};

/// Where events go, with the states that this takes.
pub(crate) struct Plan {
    /// States in an order in which each comes after the one that it is derived from.
    states: Vec<Derived>,
    /// Parents first.
    pub(crate) places: Vec<Place>,
}

/// The place of one event; `before` and `after` are indices of states.
pub(crate) struct Place {
    pub(crate) event: Authorised,
    pub(crate) before: usize,
    pub(crate) after: usize,
}

/// A state at some changes from another.
struct Derived {
    from: From,
    changes: Vec<StateChange>,
}

#[derive(Clone, Copy)]
enum From {
    Coordinate(Coordinate),
    State(usize),
}

impl Plan {
    /// Plans places for events, which come parents first and are here as outliers. `gaps` are the states before those of
    /// them whose parents are missing; `near` is a coordinate that these states should be close to.
    pub(crate) fn make(
        tx: &ReadTx<'_>,
        room: RoomNid,
        rules: &RoomVersionRules,
        near: Coordinate,
        pdus: &[Arc<Pdu>],
        gaps: &HashMap<OwnedEventId, State>,
    ) -> Result<Self, PduError> {
        let mut planner = Planner {
            tx,
            room,
            rules,
            near,
            plan: Self {
                states: Vec::new(),
                places: Vec::with_capacity(pdus.len()),
            },
            known: Vec::new(),
            after: HashMap::new(),
            at: HashMap::new(),
        };
        for pdu in pdus {
            planner.add(pdu, gaps.get(pdu.event_id()))?;
        }
        Ok(planner.plan)
    }

    /// Writes the states down, and says at which coordinates they are.
    pub(crate) fn record_states(
        &self,
        tx: &mut WriteTx<'_>,
        room: &Room,
    ) -> Result<Vec<Coordinate>, PduError> {
        let mut coordinates: Vec<Coordinate> = Vec::with_capacity(self.states.len());
        for state in &self.states {
            let from = match state.from {
                From::Coordinate(at) => at,
                From::State(index) => coordinates[index],
            };
            if state.changes.is_empty() {
                coordinates.push(from);
                continue;
            }
            let at = tx.fork_coordinate(room, from)?;
            let position = tx.next_position();
            tx.record_changes(at, &state.changes, position)?;
            coordinates.push(at);
        }
        Ok(coordinates)
    }
}

struct Planner<'t, 'c> {
    tx: &'t ReadTx<'c>,
    room: RoomNid,
    rules: &'t RoomVersionRules,
    near: Coordinate,
    plan: Plan,
    /// The entries of the plan's states.
    known: Vec<Rc<State>>,
    /// The states after events that have their place in the plan.
    after: HashMap<OwnedEventId, usize>,
    /// The states at coordinates.
    at: HashMap<Coordinate, usize>,
}

impl Planner<'_, '_> {
    fn add(&mut self, pdu: &Arc<Pdu>, gap: Option<&State>) -> Result<(), PduError> {
        let Some(before) = self.state_before(pdu, gap)? else {
            return Ok(());
        };
        let state = Rc::clone(&self.known[before]);
        let event = authorise_against(self.tx, self.room, self.rules, Arc::clone(pdu), &state)?;
        let own = self.tx.event(self.room, pdu.event_id())?;
        let change = own
            .filter(|_| event.status() != EventStatus::Rejected)
            .and_then(|own| Some((own.state_key?, own.nid)));
        let after = match change {
            Some((key, nid)) => {
                let mut state = State::clone(&state);
                state.insert(key, nid);
                let event = Some(nid);
                self.derive(From::State(before), vec![StateChange { key, event }], state)
            }
            None => before,
        };
        self.after.insert(pdu.event_id().to_owned(), after);
        self.plan.places.push(Place {
            event,
            before,
            after,
        });
        Ok(())
    }

    /// The state before an event; `None` where it cannot be known.
    fn state_before(&mut self, pdu: &Pdu, gap: Option<&State>) -> Result<Option<usize>, PduError> {
        if let Some(gap) = gap {
            let near = self.coordinate(self.near)?;
            return Ok(Some(self.nearest(&[near], gap.clone())));
        }
        let mut parents = Vec::new();
        for event_id in pdu.prev_events() {
            let after = match self.after.get(event_id) {
                Some(after) => *after,
                None => match self.tx.state_after(self.room, event_id)? {
                    Some(at) => self.coordinate(at)?,
                    None => return Ok(None),
                },
            };
            if !parents.contains(&after) {
                parents.push(after);
            }
        }
        match *parents {
            // The beginning of the room.
            [] => {
                let near = self.coordinate(self.near)?;
                Ok(Some(self.nearest(&[near], State::new())))
            }
            [only] => Ok(Some(only)),
            _ => {
                let states: Vec<State> = parents
                    .iter()
                    .map(|parent| State::clone(&self.known[*parent]))
                    .collect();
                let resolved = resolve(self.tx, self.room, self.rules, &states)?;
                Ok(Some(self.nearest(&parents, resolved)))
            }
        }
    }

    /// The state at a coordinate.
    fn coordinate(&mut self, at: Coordinate) -> Result<usize, PduError> {
        if let Some(known) = self.at.get(&at) {
            return Ok(*known);
        }
        let state = self.tx.state_at(at)?;
        let index = self.derive(From::Coordinate(at), Vec::new(), state);
        self.at.insert(at, index);
        Ok(index)
    }

    /// A state, derived from that of some others which is most like it.
    fn nearest(&mut self, others: &[usize], state: State) -> usize {
        let nearest = others
            .iter()
            .map(|other| (*other, difference(&self.known[*other], &state)))
            .min_by_key(|(_, changes)| changes.len());
        match nearest {
            Some((same, changes)) if changes.is_empty() => same,
            Some((other, changes)) => self.derive(From::State(other), changes, state),
            None => self.derive(From::Coordinate(self.near), Vec::new(), state),
        }
    }

    fn derive(&mut self, from: From, changes: Vec<StateChange>, state: State) -> usize {
        self.plan.states.push(Derived { from, changes });
        self.known.push(Rc::new(state));
        self.known.len() - 1
    }
}
