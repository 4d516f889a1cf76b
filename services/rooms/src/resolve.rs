//! State resolution over the store's integer ids.
//!
//! Only what is in conflict is loaded and handed to `ruma::state_res`: entries that all states agree on take part where a
//! conflicting event is judged by them, and nowhere else.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use luxchat_store::{AUTH_CHAIN_LIMIT, EventNid, Pdu, ReadTx, RoomNid, StateKeyNid};
use ruma::{
    EventId, OwnedEventId,
    events::StateEventType,
    room_version_rules::{RoomVersionRules, StateResolutionV2Rules},
    state_res::{
        self, StateMap, auth_types_for_event,
        utils::{event_id_map::EventIdMap, event_id_set::EventIdSet},
    },
};

use crate::PduError;

/// A state of a room.
pub(crate) type State = HashMap<StateKeyNid, EventNid>;

/// Resolves states of one room into one.
///
/// # Errors
///
/// [`PduError::Limit`] where the auth chains involved are too long, [`PduError::Resolution`] where the algorithm fails.
pub(crate) fn resolve(
    tx: &ReadTx<'_>,
    room: RoomNid,
    rules: &RoomVersionRules,
    states: &[State],
) -> Result<State, PduError> {
    let (mut resolved, conflicted) = split(states);
    if conflicted.is_empty() {
        return Ok(resolved);
    }
    let version = rules
        .state_res
        .v2_rules()
        .ok_or_else(|| PduError::Resolution("unknown algorithm".to_owned()))?;
    let full = full_conflict(tx, *version, states, &resolved, &conflicted)?;
    let mut events = Events::load(tx, room, full.all())?;
    let shared = events.judges(rules, &resolved)?;
    let mut maps = Vec::with_capacity(states.len());
    for state in states {
        let own = conflicted.keys().filter_map(|key| state.get(key)).copied();
        let mut map = shared.clone();
        map.extend(events.state_map(own)?);
        maps.push(map);
    }
    let chains = full.chains.iter().map(|chain| events.ids(chain)).collect();
    let subgraph = events.ids(&full.subgraph);
    let result = state_res::resolve(
        &rules.authorization,
        version,
        &maps,
        chains,
        |event_id| events.get(event_id),
        |_| Some(subgraph.clone()),
    );
    events.check()?;
    let result = result.map_err(|error| PduError::Resolution(error.to_string()))?;
    for (key, candidates) in &conflicted {
        let Some(candidate) = candidates.first() else {
            continue;
        };
        let name = events.state_entry(*candidate)?;
        if let Some(event) = result.get(&name).and_then(|id| events.nids.get(id)) {
            resolved.insert(*key, *event);
        }
    }
    Ok(resolved)
}

/// The entries that all states agree on, and the events of the others.
fn split(states: &[State]) -> (State, HashMap<StateKeyNid, BTreeSet<EventNid>>) {
    let mut agreed = State::new();
    let mut conflicted: HashMap<StateKeyNid, BTreeSet<EventNid>> = HashMap::new();
    for key in states.iter().flat_map(State::keys).copied() {
        if agreed.contains_key(&key) || conflicted.contains_key(&key) {
            continue;
        }
        let events: BTreeSet<EventNid> = states
            .iter()
            .filter_map(|state| state.get(&key))
            .copied()
            .collect();
        match events.first() {
            Some(event)
                if events.len() == 1 && states.iter().all(|state| state.contains_key(&key)) =>
            {
                agreed.insert(key, *event);
            }
            _ => {
                conflicted.insert(key, events);
            }
        }
    }
    (agreed, conflicted)
}

/// Everything that the algorithm sorts and checks.
struct FullConflict {
    conflicted: BTreeSet<EventNid>,
    /// Per state the auth chain of its conflicting events, without what is in the auth chain of the entries that all
    /// states agree on. Their difference is that of the full auth chains, at a fraction of the size.
    chains: Vec<HashSet<EventNid>>,
    /// The events on paths through auth events between conflicting events.
    subgraph: HashSet<EventNid>,
}

impl FullConflict {
    fn all(&self) -> impl Iterator<Item = EventNid> {
        let mut all: HashSet<EventNid> = self.chains.iter().flatten().copied().collect();
        all.extend(&self.subgraph);
        all.extend(&self.conflicted);
        all.into_iter()
    }
}

fn full_conflict(
    tx: &ReadTx<'_>,
    version: StateResolutionV2Rules,
    states: &[State],
    agreed: &State,
    conflicted: &HashMap<StateKeyNid, BTreeSet<EventNid>>,
) -> Result<FullConflict, PduError> {
    let mut graph = AuthGraph::new(tx);
    let common = graph.chain(agreed.values().copied())?;
    let mut chains = Vec::with_capacity(states.len());
    for state in states {
        let own = conflicted.keys().filter_map(|key| state.get(key)).copied();
        let mut chain = graph.chain(own)?;
        chain.retain(|event| !common.contains(event));
        chains.push(chain);
    }
    let conflicted: BTreeSet<EventNid> = conflicted.values().flatten().copied().collect();
    let subgraph = if version.consider_conflicted_state_subgraph {
        graph.between(&conflicted)?
    } else {
        HashSet::new()
    };
    Ok(FullConflict {
        conflicted,
        chains,
        subgraph,
    })
}

/// The graph of auth events, read from the store as far as it is walked.
struct AuthGraph<'t, 'c> {
    tx: &'t ReadTx<'c>,
    edges: HashMap<EventNid, Vec<EventNid>>,
}

impl<'t, 'c> AuthGraph<'t, 'c> {
    fn new(tx: &'t ReadTx<'c>) -> Self {
        Self {
            tx,
            edges: HashMap::new(),
        }
    }

    fn auth_events(&mut self, event: EventNid) -> Result<&[EventNid], PduError> {
        if !self.edges.contains_key(&event) {
            if self.edges.len() >= AUTH_CHAIN_LIMIT {
                return Err(PduError::Limit("the auth chain of the room's state"));
            }
            let auth_events = self.tx.auth_events(event)?;
            self.edges.insert(event, auth_events);
        }
        Ok(self.edges.get(&event).map_or(&[], Vec::as_slice))
    }

    /// The auth chain of events, themselves not included unless one leads to another.
    fn chain(
        &mut self,
        events: impl Iterator<Item = EventNid>,
    ) -> Result<HashSet<EventNid>, PduError> {
        let mut chain = HashSet::new();
        let mut left: Vec<EventNid> = events.collect();
        while let Some(event) = left.pop() {
            for auth_event in self.auth_events(event)? {
                if chain.insert(*auth_event) {
                    left.push(*auth_event);
                }
            }
        }
        Ok(chain)
    }

    /// `ends` and the events that lead from one of them to another.
    fn between(&mut self, ends: &BTreeSet<EventNid>) -> Result<HashSet<EventNid>, PduError> {
        let ancestors = self.chain(ends.iter().copied())?;
        let mut children: HashMap<EventNid, Vec<EventNid>> = HashMap::new();
        for event in ancestors.iter().chain(ends) {
            for auth_event in self.auth_events(*event)? {
                children.entry(*auth_event).or_default().push(*event);
            }
        }
        // Every event here is an end or leads down to one; what an end leads up to lies between.
        let mut between: HashSet<EventNid> = ends.iter().copied().collect();
        let mut left: Vec<EventNid> = between.iter().copied().collect();
        while let Some(event) = left.pop() {
            for child in children.get(&event).into_iter().flatten() {
                if between.insert(*child) {
                    left.push(*child);
                }
            }
        }
        Ok(between)
    }
}

/// The events that a resolution has touched, by both kinds of ids.
struct Events<'t, 'c> {
    tx: &'t ReadTx<'c>,
    room: RoomNid,
    ids: HashMap<EventNid, OwnedEventId>,
    nids: EventIdMap<OwnedEventId, EventNid>,
    pdus: RefCell<EventIdMap<OwnedEventId, Option<Arc<Pdu>>>>,
    failure: RefCell<Option<luxchat_store::Error>>,
}

impl<'t, 'c> Events<'t, 'c> {
    fn load(
        tx: &'t ReadTx<'c>,
        room: RoomNid,
        nids: impl Iterator<Item = EventNid>,
    ) -> Result<Self, PduError> {
        let mut events = Self {
            tx,
            room,
            ids: HashMap::new(),
            nids: EventIdMap::new(),
            pdus: RefCell::default(),
            failure: RefCell::default(),
        };
        for nid in nids {
            events.add(nid)?;
        }
        Ok(events)
    }

    fn add(&mut self, nid: EventNid) -> Result<Arc<Pdu>, PduError> {
        let pdu = Arc::new(self.tx.event_by_nid(nid)?.into_pdu()?);
        let event_id = pdu.event_id().to_owned();
        self.ids.insert(nid, event_id.clone());
        self.nids.insert(event_id.clone(), nid);
        let known = Some(Arc::clone(&pdu));
        self.pdus.get_mut().insert(event_id, known);
        Ok(pdu)
    }

    /// The agreed entries that some loaded event may be judged by.
    fn judges(
        &mut self,
        rules: &RoomVersionRules,
        agreed: &State,
    ) -> Result<StateMap<OwnedEventId>, PduError> {
        let mut names = HashSet::from([(StateEventType::RoomPowerLevels, String::new())]);
        for pdu in self.pdus.get_mut().values().flatten() {
            // Where this fails, the algorithm passes over the event as malformed.
            let types = auth_types_for_event(
                pdu.event_type(),
                pdu.sender(),
                pdu.state_key(),
                pdu.content(),
                &rules.authorization,
            );
            names.extend(types.into_iter().flatten());
        }
        let mut judges = StateMap::new();
        for (event_type, state_key) in names {
            let key = self.tx.state_key_nid(&event_type, &state_key)?;
            if let Some(event) = key.and_then(|key| agreed.get(&key)) {
                let event_id = self.add(*event)?.event_id().to_owned();
                judges.insert((event_type, state_key), event_id);
            }
        }
        Ok(judges)
    }

    fn state_map(
        &self,
        events: impl Iterator<Item = EventNid>,
    ) -> Result<StateMap<OwnedEventId>, PduError> {
        events
            .map(|event| Ok((self.state_entry(event)?, self.id(event)?.clone())))
            .collect()
    }

    fn state_entry(&self, event: EventNid) -> Result<(StateEventType, String), PduError> {
        self.get(self.id(event)?)
            .as_ref()
            .and_then(|pdu| pdu.state_entry())
            .map(|(event_type, state_key)| (event_type, state_key.to_owned()))
            .ok_or_else(|| PduError::Resolution(format!("{event} is no state event")))
    }

    fn id(&self, event: EventNid) -> Result<&OwnedEventId, PduError> {
        self.ids
            .get(&event)
            .ok_or_else(|| PduError::Resolution(format!("event {event} is not loaded")))
    }

    fn ids(&self, events: &HashSet<EventNid>) -> EventIdSet<OwnedEventId> {
        events
            .iter()
            .filter_map(|event| self.ids.get(event).cloned())
            .collect()
    }

    /// An event, loaded now if it was not.
    fn get(&self, event_id: &EventId) -> Option<Arc<Pdu>> {
        if let Some(known) = self.pdus.borrow().get(event_id) {
            return known.clone();
        }
        let pdu = match self.tx.pdu(self.room, event_id) {
            Ok(pdu) => pdu.map(Arc::new),
            Err(error) => {
                self.failure.borrow_mut().get_or_insert(error);
                None
            }
        };
        self.pdus
            .borrow_mut()
            .insert(event_id.to_owned(), pdu.clone());
        pdu
    }

    /// Whether every event could be read.
    fn check(&self) -> Result<(), PduError> {
        match self.failure.borrow_mut().take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}
