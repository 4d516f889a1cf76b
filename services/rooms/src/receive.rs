//! Events that other servers send.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use luxchat_federation::Offence;
use luxchat_store::{Pdu, Room};
use ruma::{
    CanonicalJsonObject, OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, ServerName,
    room_version_rules::RoomVersionRules,
};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{
    Origin, PduError, Rooms,
    accept::Step,
    gap_states::Trust,
    partial_view::{Threshold, state_after},
    receive_checks::{ParsedPdu, Unverified, check_format, parse_object, string, verify_each},
    resolve::State,
    version::rules_of,
};

/// How long what the PDUs of one transaction need in one room is fetched for. The room does not wait meanwhile; the
/// sender does.
const FETCH_TIME: Duration = Duration::from_mins(1);

/// What became of the PDUs of a transaction, by event id.
pub type Received = BTreeMap<OwnedEventId, Result<(), PduError>>;

/// A room that something arrives in, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    /// Who sent it, and whom to ask for what is missing.
    pub(crate) origin: OwnedServerName,
    /// Who made it.
    pub(crate) made_by: Origin,
    pub(crate) room: Room,
    pub(crate) rules: RoomVersionRules,
    /// Whether what cannot be had now is given up: then the word of whoever answers has to do.
    pub(crate) is_last_try: bool,
}

impl Inbound {
    /// The same, with `server` to be asked for what is missing.
    pub(crate) fn asking(&self, server: &ServerName) -> Self {
        Self {
            origin: server.to_owned(),
            ..self.clone()
        }
    }
}

impl Rooms {
    /// Takes in the PDUs of a transaction: in their order within a room, at most `parallel_rooms` rooms side by side. A
    /// PDU that is here already is fine. One whose room is unknown has no event id, and so no result.
    ///
    /// That a PDU breaks the rules of its room is no error: it is stored as rejected or soft-failed.
    ///
    /// # Errors
    ///
    /// What keeps this server from doing its work, and has nothing to do with any of the PDUs.
    pub async fn receive_pdus(
        &self,
        origin: &ServerName,
        pdus: Vec<Box<RawValue>>,
        parallel_rooms: usize,
    ) -> Result<Received, PduError> {
        let mut rooms: BTreeMap<OwnedRoomId, Vec<CanonicalJsonObject>> = BTreeMap::new();
        for raw in &pdus {
            let Ok(object) = parse_object(raw) else {
                continue;
            };
            let room_id = string(&object, "room_id").map(RoomId::parse);
            if let Some(Ok(room_id)) = room_id {
                rooms.entry(room_id).or_default().push(object);
            }
        }
        stream::iter(rooms)
            .map(|(room_id, pdus)| self.receive_in_room(origin, room_id, pdus))
            .buffer_unordered(parallel_rooms.max(1))
            .try_fold(Received::new(), |mut all, received| async move {
                all.extend(received);
                Ok(all)
            })
            .await
    }

    async fn receive_in_room(
        &self,
        origin: &ServerName,
        room_id: OwnedRoomId,
        pdus: Vec<CanonicalJsonObject>,
    ) -> Result<Received, PduError> {
        let Some(inbound) = self.inbound(origin, &room_id).await? else {
            return Ok(Received::new());
        };
        let mut received = Received::new();
        let count = pdus.len();
        let mut parsed = Vec::with_capacity(count);
        for object in pdus {
            match check_format(object, &inbound.rules) {
                Ok(pdu) => parsed.push(pdu),
                Err(error) => tracing::debug!(%origin, %room_id, %error, "a PDU is dropped"),
            }
        }
        if parsed.len() < count {
            self.federation.conduct().note(origin, Offence::Malformed);
        }
        // A join under way holds the lock: what follows it waits here.
        drop(self.room_turns.take(&room_id).await);
        match self.admit(&inbound).await {
            Ok(()) => self.receive_parsed(&inbound, parsed, &mut received).await?,
            Err(PduError::Store(error)) => return Err(error.into()),
            Err(error) => {
                for pdu in parsed {
                    let event_id = pdu.event_id.clone();
                    let result = match error {
                        PduError::NotInRoom => self.receive_outside(&inbound, pdu).await,
                        _ => Err(error.clone()),
                    };
                    received.insert(event_id, result);
                }
            }
        }
        Ok(received)
    }

    /// The room that something arrives in, if this server has heard of it.
    pub(crate) async fn inbound(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
    ) -> Result<Option<Inbound>, PduError> {
        let room_id = room_id.to_owned();
        let room = self.store.read(move |tx| tx.room_by_id(&room_id)).await?;
        let Some(room) = room else {
            return Ok(None);
        };
        let rules = rules_of(&room.version).map_err(|error| PduError::Format(error.to_string()))?;
        Ok(Some(Inbound {
            origin: origin.to_owned(),
            made_by: Origin::Remote,
            room,
            rules,
            is_last_try: false,
        }))
    }

    /// Whether this server takes in events of the room, and from the origin.
    pub(crate) async fn admit(&self, inbound: &Inbound) -> Result<(), PduError> {
        let (room, origin) = (inbound.room.nid, inbound.origin.clone());
        self.store
            .read(move |tx| {
                if !tx.is_resident(room)? {
                    return Err(PduError::NotInRoom);
                }
                if crate::server_acl::is_allowed(tx, room, &origin)? {
                    Ok(())
                } else {
                    Err(PduError::Denied(origin))
                }
            })
            .await
    }

    async fn receive_parsed(
        &self,
        inbound: &Inbound,
        parsed: Vec<ParsedPdu>,
        received: &mut Received,
    ) -> Result<(), PduError> {
        let (known, new) = self.split_known(inbound, parsed).await?;
        received.extend(known.into_iter().map(|event_id| (event_id, Ok(()))));
        let ids: Vec<OwnedEventId> = new.iter().map(|pdu| pdu.event_id.clone()).collect();
        let verified = verify_each(&self.federation, new, &inbound.rules).await?;
        let mut events = Vec::with_capacity(verified.len());
        for (event_id, result) in ids.into_iter().zip(verified) {
            match result {
                Ok(pdu) => events.push(pdu.into_pdu()?),
                Err(unverified) => {
                    let result = self.or_keep_unverified(inbound, unverified).await?;
                    received.insert(event_id, result);
                }
            }
        }
        let deadline = Instant::now() + FETCH_TIME;
        let mut left = events.as_slice();
        while let [next, rest @ ..] = left {
            let done = self.place_run(inbound, left).await;
            if done > 0 {
                let (done, rest) = left.split_at(done);
                received.extend(done.iter().map(|pdu| (pdu.event_id().to_owned(), Ok(()))));
                left = rest;
                continue;
            }
            let result = self.receive_until(deadline, inbound, next).await;
            let result = self.or_keep(inbound, next, result).await?;
            received.insert(next.event_id().to_owned(), result);
            left = rest;
        }
        Ok(())
    }

    /// What an origin is told of an event that did not pass. It is kept where that is for want of a key at the moment.
    async fn or_keep_unverified(
        &self,
        inbound: &Inbound,
        unverified: Unverified,
    ) -> Result<Result<(), PduError>, PduError> {
        let Unverified { pdu, error } = unverified;
        let (origin, event_id) = (&inbound.origin, pdu.event_id.clone());
        if error.may_heal() && self.keep_unverified(inbound, pdu).await? {
            tracing::info!(%origin, %event_id, %error, "an event waits");
            return Ok(Ok(()));
        }
        tracing::warn!(%origin, %event_id, %error, "a PDU is dropped");
        self.note_forgery(origin, &error);
        Ok(Err(error))
    }

    /// Holds a forgery against its origin, if it is that one's own: what others made of it, nobody can know.
    fn note_forgery(&self, origin: &ServerName, error: &PduError) {
        if matches!(error, PduError::Forged(server) if server == origin) {
            self.federation.conduct().note(origin, Offence::ForgedEvent);
        }
    }

    /// The PDUs that have their place already, and the others.
    async fn split_known(
        &self,
        inbound: &Inbound,
        parsed: Vec<ParsedPdu>,
    ) -> Result<(Vec<OwnedEventId>, Vec<ParsedPdu>), PduError> {
        let room = inbound.room.nid;
        self.store
            .read(move |tx| {
                let (mut known, mut new) = (Vec::new(), Vec::new());
                for pdu in parsed {
                    match tx.state_after(room, &pdu.event_id)? {
                        Some(_) => known.push(pdu.event_id),
                        None => new.push(pdu),
                    }
                }
                Ok((known, new))
            })
            .await
    }

    /// What an origin is told of an event: one that lacks what it builds upon is kept here to be tried again. An error is
    /// for all its events: it is to send them once more.
    async fn or_keep(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
        result: Result<(), PduError>,
    ) -> Result<Result<(), PduError>, PduError> {
        let Err(error) = result else {
            return Ok(result);
        };
        if error.is_passing() {
            return Err(error);
        }
        let (origin, event_id) = (&inbound.origin, pdu.event_id());
        let (id, json) = (event_id.to_owned(), pdu.json().to_owned());
        if error.may_heal() && self.keep_waiting(inbound, id, json).await? {
            tracing::info!(%origin, %event_id, %error, "an event waits");
            return Ok(Ok(()));
        }
        tracing::warn!(%origin, %event_id, %error, "a PDU is dropped");
        Ok(Err(error))
    }

    /// Takes in one event, unless its origin takes too long to say what it builds upon. What was fetched by then stays.
    async fn receive_until(
        &self,
        deadline: Instant,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
    ) -> Result<(), PduError> {
        tokio::time::timeout_at(deadline, self.receive_one(inbound, pdu))
            .await
            .unwrap_or(Err(PduError::Limit(
                "the time to fetch what it builds upon",
            )))
    }

    /// Takes in one event, fetching what it needs.
    ///
    /// Who sends an event tells what lies between it and what this server has. That is all that is asked for: an event
    /// whose parents its origin keeps to itself would be a way to have this server trust any state.
    pub(crate) async fn receive_one(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
    ) -> Result<(), PduError> {
        let pdu = &self.policy_signed_if_possible(inbound, pdu).await?;
        let mut step = self.place(inbound, pdu, HashMap::new()).await?;
        if step.is_missing() {
            // What was missing may have come by itself meanwhile.
            if !self.missing_parents(inbound, pdu).await?.is_empty() {
                self.fetch_missing_events(inbound, pdu).await?;
            }
            step = self.place(inbound, pdu, HashMap::new()).await?;
        }
        if let Step::MissingAuthEvents(missing) = step {
            self.fetch_auth_events(inbound, pdu, missing).await?;
            step = self.place(inbound, pdu, HashMap::new()).await?;
        }
        step.done()
    }

    /// Takes in an event that was fetched as an ancestor of another: of what is before it, only the state is fetched.
    pub(crate) async fn receive_ancestor(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
        trust: Trust,
    ) -> Result<(), PduError> {
        let pdu = &self.policy_signed_if_possible(inbound, pdu).await?;
        let missing = self.missing_parents(inbound, pdu).await?;
        let witnesses = match missing[..] {
            [] => Vec::new(),
            _ => self.witnesses(inbound).await?,
        };
        let gaps = self
            .states_after_missing(inbound, &missing, &witnesses, trust)
            .await?;
        let mut step = self.place(inbound, pdu, gaps.clone()).await?;
        if let Step::MissingAuthEvents(missing) = step {
            self.fetch_auth_events(inbound, pdu, missing).await?;
            step = self.place(inbound, pdu, gaps).await?;
        }
        step.done()
    }

    /// Gives an event its place, at the room's turn. Nothing is fetched during a turn: a peer that takes its time keeps
    /// nobody else from the room.
    async fn place(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
        gaps: HashMap<OwnedEventId, State>,
    ) -> Result<Step, PduError> {
        let _turn = self.room_turns.take(&inbound.room.room_id).await;
        self.accept(inbound, pdu, gaps).await
    }

    /// The same for the first of some events, as many as need nothing.
    async fn place_run(&self, inbound: &Inbound, events: &[Arc<Pdu>]) -> usize {
        let _turn = self.room_turns.take(&inbound.room.room_id).await;
        self.accept_run(inbound, events).await.unwrap_or(0)
    }

    /// The parents of an event whose place in the graph this server does not know.
    pub(crate) async fn missing_parents(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
    ) -> Result<Vec<OwnedEventId>, PduError> {
        let (room, pdu) = (inbound.room.nid, Arc::clone(pdu));
        self.store
            .read(move |tx| {
                let threshold = Threshold::of(tx, &tx.room(room)?)?;
                let mut missing = Vec::new();
                for parent in pdu.prev_events() {
                    if state_after(tx, room, threshold.as_ref(), parent)?.is_none() {
                        missing.push(parent.clone());
                    }
                }
                Ok(missing)
            })
            .await
    }
}
