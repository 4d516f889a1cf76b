//! Filling the gap between what this server has of a room and an event that builds upon more.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use luxchat_store::Pdu;
use ruma::{OwnedEventId, api::federation::event::get_missing_events};

use crate::{
    PduError, Rooms,
    gap_states::{Trust, WITNESS_TIME},
    ordering::parents_first,
    partial_view::{Threshold, state_after},
    receive::Inbound,
    receive_checks::verify_answer,
};

/// Requests made to one server for one PDU.
const ROUNDS: usize = 5;

/// Events asked for by one request.
const LIMIT: u32 = 50;

/// Servers tell of 10 to 50 events at most, whatever the request says. An answer with fewer is all they have to tell.
const SHORT: usize = 10;

/// What lies between an event and what this server has of its room.
struct Gap {
    gathered: HashMap<OwnedEventId, Arc<Pdu>>,
    /// The events at its far end, whose parents are missing still.
    latest: Vec<Arc<Pdu>>,
    /// Whether there is more than is asked for.
    is_wide: bool,
}

impl Gap {
    fn before(pdu: &Arc<Pdu>) -> Self {
        Self {
            gathered: HashMap::new(),
            latest: vec![Arc::clone(pdu)],
            is_wide: false,
        }
    }

    fn is_closed(&self) -> bool {
        self.latest.is_empty()
    }
}

impl Rooms {
    /// Asks the origin for the events between this server's extremities and an event, then the witnesses for what it does
    /// not tell, and takes them in, oldest first. What is still missing then is not to be had this way.
    pub(crate) async fn fetch_missing_events(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
    ) -> Result<(), PduError> {
        let mut gap = Gap::before(pdu);
        self.gather(inbound, pdu, &mut gap).await?;
        let witnesses = self.witnesses(inbound).await?;
        for witness in &witnesses {
            if gap.is_closed() || gap.is_wide {
                break;
            }
            let asked = inbound.asking(witness);
            match tokio::time::timeout(WITNESS_TIME, self.gather(&asked, pdu, &mut gap)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%witness, %error, "a witness cannot tell"),
                Err(_) => tracing::debug!(%witness, "a witness takes too long"),
            }
        }
        let trust = if gap.is_wide {
            Trust::AnyWord
        } else {
            Trust::Witnessed
        };
        let gathered = self.between(inbound, pdu, gap.gathered).await?;
        for event in parents_first(
            gathered,
            |event| event.event_id(),
            |event| event.prev_events(),
        ) {
            match self.receive_ancestor(inbound, &event, trust).await {
                Ok(()) => {}
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => {
                    tracing::debug!(event_id = %event.event_id(), %error, "an ancestor is dropped");
                }
            }
        }
        Ok(())
    }

    /// Gathers what the origin can tell of a gap.
    async fn gather(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
        gap: &mut Gap,
    ) -> Result<(), PduError> {
        for _ in 0..ROUNDS {
            let found = match self.ask_missing(inbound, &gap.latest).await {
                Ok(found) => found,
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => {
                    tracing::debug!(origin = %inbound.origin, %error, "no missing events to be had");
                    return Ok(());
                }
            };
            let (before, is_all) = (gap.gathered.len(), found.len() < SHORT);
            for event in found {
                if event.event_id() != pdu.event_id() {
                    let event_id = event.event_id().to_owned();
                    gap.gathered.entry(event_id).or_insert(event);
                }
            }
            gap.latest = self.beginnings(inbound, pdu, &gap.gathered).await?;
            if is_all || gap.is_closed() || gap.gathered.len() == before {
                return Ok(());
            }
        }
        gap.is_wide = true;
        Ok(())
    }

    async fn ask_missing(
        &self,
        inbound: &Inbound,
        latest: &[Arc<Pdu>],
    ) -> Result<Vec<Arc<Pdu>>, PduError> {
        let room = inbound.room.nid;
        let tips = self.store.read(move |tx| tx.tips(room)).await?;
        let mut request = get_missing_events::v1::Request::new(
            inbound.room.room_id.clone(),
            tips.into_iter().map(|tip| tip.event_id).collect(),
            latest.iter().map(|pdu| pdu.event_id().to_owned()).collect(),
        );
        // Without a least depth: what forked off before the extremities is missing, too.
        request.limit = LIMIT.into();
        let answer = self.federation.request(&inbound.origin, request).await?;
        let mut events = answer.events;
        events.truncate(LIMIT as usize);
        let verified = verify_answer(&self.federation, events, &inbound.rules).await?;
        Ok(verified
            .into_iter()
            .filter_map(|pdu| pdu.into_pdu().ok())
            .filter(|pdu| pdu.room_id() == inbound.room.room_id)
            .collect())
    }

    /// The events among `gathered`, or `pdu`, with a parent that is neither among them nor here.
    async fn beginnings(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
        gathered: &HashMap<OwnedEventId, Arc<Pdu>>,
    ) -> Result<Vec<Arc<Pdu>>, PduError> {
        let parents: HashSet<OwnedEventId> = gathered
            .values()
            .chain([pdu])
            .flat_map(|event| event.prev_events())
            .filter(|parent| !gathered.contains_key(*parent))
            .cloned()
            .collect();
        let missing = self.without_place(inbound, parents).await?;
        Ok(gathered
            .values()
            .chain([pdu])
            .filter(|event| {
                event
                    .prev_events()
                    .iter()
                    .any(|prev| missing.contains(prev))
            })
            .cloned()
            .collect())
    }

    /// Those of some gathered events that lead from an event back to what is known here. Others would only lead further
    /// back, beyond where this server came to the room.
    async fn between(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
        mut gathered: HashMap<OwnedEventId, Arc<Pdu>>,
    ) -> Result<Vec<Arc<Pdu>>, PduError> {
        let parents = gathered.values().chain([pdu]);
        let parents = parents.flat_map(|event| event.prev_events()).cloned();
        let missing = self.without_place(inbound, parents.collect()).await?;
        let mut between = Vec::with_capacity(gathered.len());
        let mut left = pdu.prev_events().to_vec();
        while let Some(event_id) = left.pop() {
            if missing.contains(&event_id)
                && let Some(event) = gathered.remove(&event_id)
            {
                left.extend_from_slice(event.prev_events());
                between.push(event);
            }
        }
        Ok(between)
    }

    /// Those of some events whose place in the graph this server does not know.
    async fn without_place(
        &self,
        inbound: &Inbound,
        events: HashSet<OwnedEventId>,
    ) -> Result<HashSet<OwnedEventId>, PduError> {
        let room = inbound.room.nid;
        self.store
            .read(move |tx| {
                let threshold = Threshold::of(tx, &tx.room(room)?)?;
                let mut missing = HashSet::new();
                for event_id in events {
                    if state_after(tx, room, threshold.as_ref(), &event_id)?.is_none() {
                        missing.insert(event_id);
                    }
                }
                Ok(missing)
            })
            .await
    }
}
