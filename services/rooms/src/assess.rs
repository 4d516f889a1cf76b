//! Where an event from another server stands in its room: the state before it, whether it passes, and what it changes.
//!
//! Nothing here writes. An assessment rests on the room's head (extremities and current state): whoever writes checks that
//! the head is still the same.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use luxchat_store::{
    Coordinate, EventNid, EventStatus, Pdu, ReadTx, Room, StateChange, StateKeyNid,
};
use ruma::{EventId, OwnedEventId, events::StateEventType, room_version_rules::RoomVersionRules};

use crate::{
    Authorised, CurrentState, PduError,
    auth_checks::{Fetched, missing_auth_events},
    partial_view::{Threshold, add_missing_members, claimed},
    resolve::{State, resolve},
};

/// Extremities up to which the states after each of them are resolved. Where there are more, the current state stands for
/// those that an event leaves in place: it was resolved out of them.
const RESOLVED_TIPS: usize = 20;

/// Extremities up to which a room may be forked further. More are no accident: an event that joins none of them waits, like
/// one that has soft-failed, until another builds upon it.
const MAX_TIPS: usize = 200;

/// How much work an assessment may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effort {
    /// A few look-ups: fit for the writer's thread.
    Quick,
    /// State resolution. A state event must be stored already, as an outlier, so that it has an integer id.
    Full {
        /// That id.
        own: Option<EventNid>,
    },
}

/// What an assessment comes to.
#[derive(Debug)]
pub(crate) enum Assessment {
    /// The event has its place already.
    Known,
    /// Events that authorise it are missing here.
    MissingAuthEvents(Vec<OwnedEventId>),
    /// Events before it are missing here, or have no place themselves.
    MissingPrevEvents(Vec<OwnedEventId>),
    /// More than [`Effort::Quick`] is needed.
    NeedsResolution,
    /// Its place.
    Ready(Box<Place>),
}

/// The place of an event.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) head: Head,
    pub(crate) before: Before,
    pub(crate) event: Authorised,
    pub(crate) current: CurrentState,
}

/// What of the room an assessment rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) tips: Vec<EventNid>,
    pub(crate) current: Coordinate,
}

/// The state before an event.
#[derive(Clone, Debug)]
pub(crate) enum Before {
    /// At a coordinate.
    At(Coordinate),
    /// At some changes from a coordinate.
    Changed {
        from: Coordinate,
        changes: Vec<StateChange>,
    },
}

/// The room as an assessment sees it.
pub(crate) struct Assessor<'t, 'c> {
    tx: &'t ReadTx<'c>,
    room: &'t Room,
    rules: &'t RoomVersionRules,
    /// The state after events that are not here, as another server says.
    gaps: &'t HashMap<OwnedEventId, State>,
    /// Whether the room's state lacks members, so that events are believed what they say of them.
    lacks_members: bool,
    threshold: Option<Threshold>,
    pdus: RefCell<HashMap<EventNid, Arc<Pdu>>>,
}

impl Head {
    /// The head of a room whose state this server holds.
    pub(crate) fn of(tx: &ReadTx<'_>, room: &Room) -> Result<Self, PduError> {
        let tips = tx.tips(room.nid)?.into_iter().map(|tip| tip.nid).collect();
        let current = room.current.ok_or(PduError::NotInRoom)?;
        Ok(Self { tips, current })
    }
}

impl<'t, 'c> Assessor<'t, 'c> {
    pub(crate) fn new(
        tx: &'t ReadTx<'c>,
        room: &'t Room,
        rules: &'t RoomVersionRules,
        gaps: &'t HashMap<OwnedEventId, State>,
    ) -> Result<Self, PduError> {
        Ok(Self {
            tx,
            room,
            rules,
            gaps,
            lacks_members: room.is_partial(),
            threshold: Threshold::of(tx, room)?,
            pdus: RefCell::default(),
        })
    }

    /// One that no longer believes what events say of members, now that the state at the threshold has all of them.
    pub(crate) fn complete(
        tx: &'t ReadTx<'c>,
        room: &'t Room,
        rules: &'t RoomVersionRules,
        gaps: &'t HashMap<OwnedEventId, State>,
        threshold: Option<Threshold>,
    ) -> Self {
        Self {
            tx,
            room,
            rules,
            gaps,
            lacks_members: false,
            threshold,
            pdus: RefCell::default(),
        }
    }

    /// Assesses an event that arrived as news.
    pub(crate) fn assess(&self, pdu: &Arc<Pdu>, effort: Effort) -> Result<Assessment, PduError> {
        let (tx, room) = (self.tx, self.room);
        if tx.state_after(room.nid, pdu.event_id())?.is_some() {
            return Ok(Assessment::Known);
        }
        let missing = missing_auth_events(tx, room, pdu)?;
        if !missing.is_empty() {
            return Ok(Assessment::MissingAuthEvents(missing));
        }
        self.assess_at(Head::of(tx, room)?, pdu, effort)
    }

    /// Assesses an event, whether it has a place or not, as if the room had this head.
    pub(crate) fn assess_at(
        &self,
        head: Head,
        pdu: &Arc<Pdu>,
        effort: Effort,
    ) -> Result<Assessment, PduError> {
        let prevs = match self.prevs(pdu)? {
            Ok(prevs) => prevs,
            Err(missing) => return Ok(Assessment::MissingPrevEvents(missing)),
        };
        let Some((before, state)) = self.state_before(&head, &prevs, effort)? else {
            return Ok(Assessment::NeedsResolution);
        };
        let mut event = self.authorise(pdu, &head, &before, state.as_ref())?;
        if head.tips.len() >= MAX_TIPS && !prevs.join_any(&head.tips) {
            event.hold_back("the room has too many forward extremities");
        }
        let current = match event.status() {
            EventStatus::Accepted => self.change(pdu, &head, &prevs, &before, state, effort)?,
            EventStatus::SoftFailed | EventStatus::Rejected => {
                log_failure(&event);
                Some(CurrentState::Resolved(Vec::new()))
            }
        };
        Ok(match current {
            Some(current) => Assessment::Ready(Box::new(Place {
                head,
                before,
                event,
                current,
            })),
            None => Assessment::NeedsResolution,
        })
    }

    /// The state before an event with these parents, and its entries where they had to be computed. `None` where that is
    /// too much work.
    fn state_before(
        &self,
        head: &Head,
        prevs: &Prevs<'_>,
        effort: Effort,
    ) -> Result<Option<(Before, Option<State>)>, PduError> {
        if prevs.gaps.is_empty() {
            if prevs.are(&head.tips) {
                return Ok(Some((Before::At(head.current), None)));
            }
            if let [only] = *prevs.coordinates {
                return Ok(Some((Before::At(only), None)));
            }
        }
        if matches!(effort, Effort::Quick) {
            return Ok(None);
        }
        let (tx, room) = (self.tx, self.room);
        let mut states = Vec::with_capacity(prevs.coordinates.len() + prevs.gaps.len());
        for coordinate in &prevs.coordinates {
            states.push(tx.state_at(*coordinate)?);
        }
        if self.lacks_members {
            add_missing_members(tx, &mut states, &prevs.gaps)?;
        }
        states.extend(prevs.gaps.iter().map(|state| (*state).clone()));
        let resolved = resolve(tx, room.nid, self.rules, &states)?;
        let known = prevs.coordinates.iter().copied().zip(states);
        let main = (head.current, tx.state_at(head.current)?);
        let nearest = known
            .chain([main])
            .map(|(from, state)| (from, difference(&state, &resolved)))
            .min_by_key(|(_, changes)| changes.len());
        let before = match nearest {
            Some((from, changes)) if !changes.is_empty() => Before::Changed { from, changes },
            Some((from, _)) => Before::At(from),
            None => Before::At(head.current),
        };
        Ok(Some((before, Some(resolved))))
    }

    /// Checks an event against its auth events, the state before it, and the current state.
    fn authorise(
        &self,
        pdu: &Arc<Pdu>,
        head: &Head,
        before: &Before,
        state: Option<&State>,
    ) -> Result<Authorised, PduError> {
        let (tx, rules) = (self.tx, &self.rules.authorization);
        let fetched = Fetched::default();
        let auth_event = |event_id: &EventId| {
            fetched.keep(|| match tx.event_nid(self.room.nid, event_id)? {
                Some(event) => self.pdu(event).map(Some),
                None => Ok(None),
            })
        };
        let by_auth_events = Authorised::by_auth_events(rules, Arc::clone(pdu), auth_event);
        let entry_before = |key| match (before, state) {
            (_, Some(state)) => Ok(state.get(&key).copied()),
            (Before::At(at) | Before::Changed { from: at, .. }, None) => tx.state_nid_at(*at, key),
        };
        let by_state = by_auth_events.and_state_before(rules, |event_type, state_key| {
            fetched.keep(|| self.state_event(pdu, event_type, state_key, entry_before))
        });
        let event = by_state.and_current_state(rules, |event_type, state_key| {
            let entry = |key| tx.state_nid_at(head.current, key);
            fetched.keep(|| self.state_event(pdu, event_type, state_key, entry))
        });
        fetched.check()?;
        Ok(event)
    }

    /// An entry of a state by which an event is judged.
    fn state_event(
        &self,
        judged: &Pdu,
        event_type: &StateEventType,
        state_key: &str,
        entry: impl Fn(StateKeyNid) -> luxchat_store::Result<Option<EventNid>>,
    ) -> luxchat_store::Result<Option<Arc<Pdu>>> {
        let key = self.tx.state_key_nid(event_type, state_key)?;
        let found = match key {
            Some(key) => entry(key)?,
            None => None,
        };
        match found {
            Some(event) => self.pdu(event).map(Some),
            None if self.lacks_members => {
                claimed(self.tx, self.room.nid, judged, event_type, state_key)
            }
            None => Ok(None),
        }
    }

    /// An event, parsed once: the three checks mostly look at the same few.
    fn pdu(&self, event: EventNid) -> luxchat_store::Result<Arc<Pdu>> {
        if let Some(pdu) = self.pdus.borrow().get(&event) {
            return Ok(Arc::clone(pdu));
        }
        let pdu = Arc::new(self.tx.event_by_nid(event)?.into_pdu()?);
        self.pdus.borrow_mut().insert(event, Arc::clone(&pdu));
        Ok(pdu)
    }

    /// What becomes of the current state with an accepted event. `None` where finding out is too much work.
    fn change(
        &self,
        pdu: &Pdu,
        head: &Head,
        prevs: &Prevs<'_>,
        before: &Before,
        state: Option<State>,
        effort: Effort,
    ) -> Result<Option<CurrentState>, PduError> {
        let tx = self.tx;
        let on_main = matches!(before, Before::At(at) if *at == head.current);
        let others = self.other_tips(head, prevs)?;
        if on_main && others.iter().all(|other| *other == head.current) {
            if others.is_empty() {
                return Ok(Some(CurrentState::Follows));
            }
            if pdu.state_key().is_none() {
                return Ok(Some(CurrentState::Resolved(Vec::new())));
            }
        }
        let Effort::Full { own } = effort else {
            return Ok(None);
        };
        let mut after = match (state, before) {
            (Some(state), _) => state,
            (None, Before::At(at) | Before::Changed { from: at, .. }) => tx.state_at(*at)?,
        };
        if let (Some((event_type, state_key)), Some(own)) = (pdu.state_entry(), own)
            && let Some(key) = tx.state_key_nid(&event_type, state_key)?
        {
            after.insert(key, own);
        }
        let mut states = vec![after];
        for other in others {
            states.push(tx.state_at(other)?);
        }
        if self.lacks_members {
            let (own_state, others) = states.split_at_mut(1);
            add_missing_members(tx, others, &[&own_state[0]])?;
        }
        let resolved = resolve(tx, self.room.nid, self.rules, &states)?;
        let current = tx.state_at(head.current)?;
        let mut changes = difference(&current, &resolved);
        if self.lacks_members && !prevs.gaps.is_empty() {
            // Members that another server names beside the event come with the rest.
            let members = tx.membership_keys(changes.iter().map(|change| change.key))?;
            changes.retain(|change| {
                change.event == own
                    || current.contains_key(&change.key)
                    || !members.contains(&change.key)
            });
        }
        Ok(Some(CurrentState::Resolved(changes)))
    }

    /// The states after the extremities that an event leaves in place, each once.
    fn other_tips(&self, head: &Head, prevs: &Prevs<'_>) -> Result<Vec<Coordinate>, PduError> {
        if head.tips.len() > RESOLVED_TIPS {
            return Ok(vec![head.current]);
        }
        let mut others = Vec::new();
        for tip in head.tips.iter().filter(|tip| !prevs.nids.contains(tip)) {
            if let Some(after) = self.tx.event_by_nid(*tip)?.after
                && !others.contains(&after)
            {
                others.push(after);
            }
        }
        Ok(others)
    }

    fn threshold_at(&self, event_id: &EventId) -> Option<&Threshold> {
        let threshold = self.threshold.as_ref();
        threshold.filter(|threshold| threshold.parent == event_id)
    }

    /// The parents of an event, or those of them that are missing.
    fn prevs(&self, pdu: &Pdu) -> Result<Result<Prevs<'t>, Vec<OwnedEventId>>, PduError> {
        if pdu.prev_events().is_empty() {
            return Err(PduError::Format("the event has no parents".to_owned()));
        }
        let mut prevs = Prevs::default();
        let mut missing = Vec::new();
        for event_id in pdu.prev_events() {
            let event = self.tx.event(self.room.nid, event_id)?;
            if let Some((nid, after)) = event.and_then(|event| Some((event.nid, event.after?))) {
                prevs.nids.insert(nid);
                if !prevs.coordinates.contains(&after) {
                    prevs.coordinates.push(after);
                }
            } else if let Some(state) = self.gaps.get(event_id) {
                prevs.gaps.push(state);
            } else if let Some(threshold) = self.threshold_at(event_id) {
                if !prevs.coordinates.contains(&threshold.after) {
                    prevs.coordinates.push(threshold.after);
                }
            } else {
                missing.push(event_id.clone());
            }
        }
        Ok(if missing.is_empty() {
            Ok(prevs)
        } else {
            Err(missing)
        })
    }
}

/// The parents of an event.
#[derive(Default)]
struct Prevs<'t> {
    nids: HashSet<EventNid>,
    /// The states after those that are here, each once.
    coordinates: Vec<Coordinate>,
    /// The states after those that are not.
    gaps: Vec<&'t State>,
}

impl Prevs<'_> {
    /// Whether the room's extremities are these events and no others.
    fn are(&self, tips: &[EventNid]) -> bool {
        self.nids.len() == tips.len() && tips.iter().all(|tip| self.nids.contains(tip))
    }

    /// Whether some of these events are extremities of the room.
    fn join_any(&self, tips: &[EventNid]) -> bool {
        tips.iter().any(|tip| self.nids.contains(tip))
    }
}

/// What to change in one state to get another.
pub(crate) fn difference(from: &State, to: &State) -> Vec<StateChange> {
    let set = to
        .iter()
        .filter(|(key, event)| from.get(key) != Some(event))
        .map(|(key, event)| (*key, Some(*event)));
    let unset = from
        .keys()
        .filter(|key| !to.contains_key(key))
        .map(|key| (*key, None));
    set.chain(unset)
        .map(|(key, event)| StateChange { key, event })
        .collect()
}

fn log_failure(event: &Authorised) {
    tracing::debug!(
        event_id = %event.pdu().event_id(),
        event_type = %event.pdu().event_type(),
        status = ?event.status(),
        reason = event.reason(),
        "an event does not pass"
    );
}
