//! Events without a place in the graph: what other events name as their authority, or as state.

use std::{collections::HashMap, sync::Arc};

use luxchat_store::{EventStatus, Pdu, ReadTx, RoomNid};
use ruma::{
    EventId, OwnedEventId, events::TimelineEventType, room_version_rules::RoomVersionRules,
};

use crate::{
    Authorised, Origin, PduError, Placement, Rooms, append, auth_checks::Fetched,
    ordering::parents_first, receive_checks::VerifiedPdu,
};

/// Events stored by one write, so that other writes need not wait for long.
const STORE_BATCH: usize = 64;

impl Rooms {
    /// Stores verified events as outliers, each checked against its auth events. One whose auth events are neither here
    /// nor among these is left out, and so is one of another room: there, it may well be in force.
    pub(crate) async fn store_outliers(
        &self,
        room: RoomNid,
        rules: &RoomVersionRules,
        events: Vec<VerifiedPdu>,
    ) -> Result<(), PduError> {
        let rules = rules.clone();
        let authorised = self
            .store
            .read(move |tx| authorise_outliers(tx, room, &rules, events))
            .await?;
        for batch in authorised.chunks(STORE_BATCH) {
            let batch = batch.to_vec();
            self.store
                .write(move |tx| {
                    let mut room = tx.room(room)?;
                    for event in &batch {
                        let placement = Placement::Outlier;
                        let stored = append(tx, &mut room, event, placement, Origin::Remote)?;
                        if stored.is_none() {
                            tx.check_outlier(room.nid, event.pdu(), event.status())?;
                        }
                    }
                    Ok::<_, PduError>(())
                })
                .await?;
        }
        Ok(())
    }
}

fn authorise_outliers(
    tx: &ReadTx<'_>,
    room: RoomNid,
    rules: &RoomVersionRules,
    events: Vec<VerifiedPdu>,
) -> Result<Vec<Authorised>, PduError> {
    let room_id = tx.room_id(room)?;
    let mut pdus: Vec<Arc<Pdu>> = events
        .into_iter()
        .filter_map(|event| event.into_pdu().ok())
        .filter(|pdu| pdu.room_id() == room_id)
        .collect();
    // In rooms of version 12 every event rests on the one that the room begins with, and none says so.
    pdus.sort_by_key(|pdu| !pdu.is_state(&TimelineEventType::RoomCreate, ""));
    let mut done = Outliers::new(tx, room, rules);
    for pdu in parents_first(pdus, |pdu| pdu.event_id(), |pdu| pdu.auth_events()) {
        let event_id = pdu.event_id();
        // An invite came before anything that it could be checked against.
        if tx.event_nid(room, event_id)?.is_none() || tx.is_unchecked_outlier(room, event_id)? {
            done.add(pdu)?;
        }
    }
    Ok(done.authorised)
}

/// Checks events in an order in which each comes after its auth events.
struct Outliers<'t, 'c> {
    tx: &'t ReadTx<'c>,
    room: RoomNid,
    rules: &'t RoomVersionRules,
    by_id: HashMap<OwnedEventId, Arc<Pdu>>,
    authorised: Vec<Authorised>,
}

impl<'t, 'c> Outliers<'t, 'c> {
    fn new(tx: &'t ReadTx<'c>, room: RoomNid, rules: &'t RoomVersionRules) -> Self {
        Self {
            tx,
            room,
            rules,
            by_id: HashMap::new(),
            authorised: Vec::new(),
        }
    }

    fn add(&mut self, pdu: Arc<Pdu>) -> Result<(), PduError> {
        let fetched = Fetched::default();
        let find = |event_id: &EventId| match self.by_id.get(event_id) {
            Some(event) => Some(Arc::clone(event)),
            None => fetched.keep(|| Ok(self.tx.pdu(self.room, event_id)?.map(Arc::new))),
        };
        if let Some(missing) = pdu.auth_events().iter().find(|id| find(id).is_none()) {
            fetched.check()?;
            tracing::debug!(event_id = %pdu.event_id(), %missing, "an outlier is left out");
            return Ok(());
        }
        let event = Authorised::by_auth_events(&self.rules.authorization, pdu, find);
        fetched.check()?;
        let judged = with_status(&event)?;
        self.by_id.insert(judged.event_id().to_owned(), judged);
        self.authorised.push(event);
        Ok(())
    }
}

/// The event as others see it that name it as their authority.
fn with_status(event: &Authorised) -> Result<Arc<Pdu>, PduError> {
    let pdu = event.pdu();
    if event.status() == EventStatus::Accepted {
        return Ok(Arc::clone(pdu));
    }
    let (event_id, json) = (pdu.event_id().to_owned(), pdu.json().to_owned());
    Ok(Arc::new(Pdu::parse(event_id, json, event.status())?))
}
