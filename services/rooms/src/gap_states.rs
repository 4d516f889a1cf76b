//! The state after events that this server does not have, as another server says.

use std::{collections::HashMap, time::Duration};

use luxchat_store::{EventStatus, ReadTx, RoomNid, ServerNid};
use ruma::{
    OwnedEventId, OwnedServerName,
    api::federation::event::{get_room_state, get_room_state_ids},
};

use crate::{
    PduError, Rooms,
    accept::authorise_against,
    receive::Inbound,
    receive_checks::{VerifiedPdu, verify_answer},
    resolve::{State, resolve},
};

/// Missing state events up to which they are fetched one by one rather than with the whole state.
const FETCH_SINGLY: usize = 40;

/// Servers that are asked besides the origin, and how long each may take.
pub(crate) const WITNESSES: usize = 2;
pub(crate) const WITNESS_TIME: Duration = Duration::from_secs(10);

/// Entries that a state may have, and events its auth chain.
pub(crate) const MAX_STATE: usize = 100_000;

/// Whose word counts for a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The origin's, though nobody bear it out: there is more before the event than can be asked for.
    AnyWord,
    /// That of a witness, where the room has any: an origin that alone knows of an event may have made it up. What is older
    /// than this server's presence in the room is excepted, as the others may all have come later, too.
    Witnessed,
}

impl Rooms {
    /// The states after some events, which the origin has and this server does not have, for want of the events before
    /// them.
    ///
    /// What the origin says takes part in state resolution as one side among others: it can add nothing that the events'
    /// signatures and the auth rules do not bear out. It can leave out, though, or tell of what was long ago: what the
    /// witnesses say, as far as they have the event, takes part as well.
    pub(crate) async fn states_after_missing(
        &self,
        inbound: &Inbound,
        missing: &[OwnedEventId],
        witnesses: &[OwnedServerName],
        trust: Trust,
    ) -> Result<HashMap<OwnedEventId, State>, PduError> {
        let room = inbound.room.nid;
        let first = self.store.read(move |tx| tx.first_live_depth(room)).await?;
        let mut states = HashMap::with_capacity(missing.len());
        for event_id in missing {
            let event = self
                .fetch_event(inbound, event_id.clone())
                .await?
                .ok_or_else(|| PduError::MissingAncestor(event_id.clone()))?;
            let is_older = first.is_some_and(|first| event.depth() < first);
            let needs_witness = trust == Trust::Witnessed && !is_older;
            let before = self
                .state_by_all(inbound, event_id, witnesses, needs_witness)
                .await?;
            let after = self.apply(inbound, event, before).await?;
            states.insert(event_id.clone(), after);
        }
        Ok(states)
    }

    /// Servers of a room that may be asked what the origin says, those with the most members first.
    pub(crate) async fn witnesses(
        &self,
        inbound: &Inbound,
    ) -> Result<Vec<OwnedServerName>, PduError> {
        let room = inbound.room.nid;
        let mut servers = self
            .store
            .read::<_, PduError, _>(move |tx| Ok(tx.servers_in_room(room)?))
            .await?;
        servers.retain(|(nid, name)| *nid != ServerNid::OWN && *name != inbound.origin);
        servers.truncate(WITNESSES);
        Ok(servers.into_iter().map(|(_, name)| name).collect())
    }

    /// The state before an event, resolved from what the origin and the witnesses say.
    async fn state_by_all(
        &self,
        inbound: &Inbound,
        event_id: &OwnedEventId,
        witnesses: &[OwnedServerName],
        needs_witness: bool,
    ) -> Result<State, PduError> {
        let mut told = vec![self.state_before_missing(inbound, event_id).await?];
        let (mut vouching, mut is_contradicted) = (0, false);
        for witness in witnesses {
            let asked = inbound.asking(witness);
            let answer = self.state_before_missing(&asked, event_id);
            match tokio::time::timeout(WITNESS_TIME, answer).await {
                Ok(Ok(state)) => {
                    vouching += 1;
                    if !told.contains(&state) {
                        told.push(state);
                    }
                }
                Ok(Err(error)) => {
                    tracing::debug!(%witness, %event_id, %error, "a witness cannot tell");
                    is_contradicted |= !error.is_passing();
                }
                Err(_) => tracing::debug!(%witness, %event_id, "a witness takes too long"),
            }
        }
        let is_alone = vouching == 0 && !witnesses.is_empty();
        if needs_witness && is_alone && (is_contradicted || !inbound.is_last_try) {
            return Err(PduError::MissingAncestor(event_id.clone()));
        }
        let (room, rules) = (inbound.room.nid, inbound.rules.clone());
        self.store
            .read(move |tx| resolve(tx, room, &rules, &told))
            .await
    }

    /// The state before an event, as the origin says. Its events are stored as outliers.
    pub(crate) async fn state_before_missing(
        &self,
        inbound: &Inbound,
        event_id: &OwnedEventId,
    ) -> Result<State, PduError> {
        let room_id = inbound.room.room_id.clone();
        let request = get_room_state_ids::v1::Request::new(event_id.clone(), room_id.clone());
        let answer = self.federation.request(&inbound.origin, request).await?;
        if answer.pdu_ids.len() > MAX_STATE || answer.auth_chain_ids.len() > MAX_STATE {
            return Err(PduError::Limit("the state before a missing event"));
        }
        let mut needed = answer.pdu_ids.clone();
        needed.extend(answer.auth_chain_ids);
        let unknown = self.unknown(inbound, needed).await?;
        if unknown.len() > FETCH_SINGLY {
            let request = get_room_state::v1::Request::new(event_id.clone(), room_id);
            let answer = self.federation.request(&inbound.origin, request).await?;
            let mut events = answer.auth_chain;
            events.extend(answer.pdus);
            let events = verify_answer(&self.federation, events, &inbound.rules).await?;
            self.store_outliers(inbound.room.nid, &inbound.rules, events)
                .await?;
        } else {
            self.fetch_outliers(inbound, unknown).await?;
        }
        let room = inbound.room.nid;
        self.store
            .read(move |tx| state_of(tx, room, &answer.pdu_ids))
            .await
    }

    /// The state after an event, from that before it.
    async fn apply(
        &self,
        inbound: &Inbound,
        event: VerifiedPdu,
        mut state: State,
    ) -> Result<State, PduError> {
        let pdu = event.into_pdu()?;
        if pdu.state_key().is_none() {
            return Ok(state);
        }
        let Some(own) = self.keep_outlier(inbound, &pdu).await? else {
            return Ok(state);
        };
        let (room, rules) = (inbound.room.nid, inbound.rules.clone());
        self.store
            .read(move |tx| {
                let event = authorise_against(tx, room, &rules, pdu, &state)?;
                if event.status() == EventStatus::Accepted
                    && let Some(key) = tx.event_by_nid(own)?.state_key
                {
                    state.insert(key, own);
                }
                Ok(state)
            })
            .await
    }
}

/// The state that consists of these events, as far as they are here and not rejected.
pub(crate) fn state_of(
    tx: &ReadTx<'_>,
    room: RoomNid,
    events: &[OwnedEventId],
) -> Result<State, PduError> {
    let mut state = State::with_capacity(events.len());
    for event_id in events {
        let Some(event) = tx.event(room, event_id)? else {
            continue;
        };
        if event.status != EventStatus::Rejected
            && let Some(key) = event.state_key
        {
            state.insert(key, event.nid);
        }
    }
    Ok(state)
}
