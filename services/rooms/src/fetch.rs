//! Fetching events that others build upon.

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream};
use luxchat_store::Pdu;
use ruma::{
    OwnedEventId,
    api::federation::{authorization::get_event_authorization, event::get_event},
};

use crate::{
    PduError, Rooms,
    receive::Inbound,
    receive_checks::{VerifiedPdu, check_format, parse_object, verify_answer, verify_one},
};

/// Events fetched one by one for one PDU at most.
const MAX_FETCHED: usize = 500;

/// Requests at a time.
const PARALLEL: usize = 8;

impl Rooms {
    /// Fetches the auth chain of an event: all at once, and what is missing then one by one.
    pub(crate) async fn fetch_auth_events(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
        missing: Vec<OwnedEventId>,
    ) -> Result<(), PduError> {
        let request = get_event_authorization::v1::Request::new(
            inbound.room.room_id.clone(),
            pdu.event_id().to_owned(),
        );
        match self.federation.request(&inbound.origin, request).await {
            Ok(answer) => {
                let chain =
                    verify_answer(&self.federation, answer.auth_chain, &inbound.rules).await?;
                self.store_outliers(inbound.room.nid, &inbound.rules, chain)
                    .await?;
            }
            Err(error) if error.is_passing() => return Err(error.into()),
            Err(error) => {
                tracing::debug!(origin = %inbound.origin, %error, "no auth chain to be had");
            }
        }
        self.fetch_outliers(inbound, missing).await
    }

    /// Fetches events that are not here, and the events that authorise them, one by one, and stores them as outliers.
    /// What cannot be had is left out.
    pub(crate) async fn fetch_outliers(
        &self,
        inbound: &Inbound,
        wanted: Vec<OwnedEventId>,
    ) -> Result<(), PduError> {
        let mut fetched: Vec<VerifiedPdu> = Vec::new();
        let mut asked: HashSet<OwnedEventId> = HashSet::new();
        let mut wanted = self.unknown(inbound, wanted).await?;
        while !wanted.is_empty() {
            if asked.len() + wanted.len() > MAX_FETCHED {
                return Err(PduError::Limit("the number of events to fetch"));
            }
            asked.extend(wanted.iter().cloned());
            let events: Vec<Option<VerifiedPdu>> = stream::iter(wanted)
                .map(|event_id| self.fetch_event(inbound, event_id))
                .buffer_unordered(PARALLEL)
                .try_collect()
                .await?;
            let mut next = HashSet::new();
            for event in events.into_iter().flatten() {
                next.extend(event.auth_events());
                fetched.push(event);
            }
            next.retain(|event_id| !asked.contains(event_id));
            wanted = self.unknown(inbound, next.into_iter().collect()).await?;
        }
        self.store_outliers(inbound.room.nid, &inbound.rules, fetched)
            .await
    }

    /// One event of the room, from the origin; `None` where it cannot be had there.
    pub(crate) async fn fetch_event(
        &self,
        inbound: &Inbound,
        event_id: OwnedEventId,
    ) -> Result<Option<VerifiedPdu>, PduError> {
        match self.try_fetch_event(inbound, &event_id).await {
            Ok(event) => Ok(Some(event)),
            Err(error) if error.is_passing() => Err(error),
            Err(error) => {
                tracing::debug!(origin = %inbound.origin, %event_id, %error, "no event to be had");
                Ok(None)
            }
        }
    }

    async fn try_fetch_event(
        &self,
        inbound: &Inbound,
        event_id: &OwnedEventId,
    ) -> Result<VerifiedPdu, PduError> {
        let request = get_event::v1::Request::new(event_id.clone());
        let answer = self.federation.request(&inbound.origin, request).await?;
        let parsed = check_format(parse_object(&answer.pdu)?, &inbound.rules)?;
        if parsed.event_id != *event_id {
            return Err(PduError::Format(format!(
                "{} in its place",
                parsed.event_id
            )));
        }
        let event = verify_one(&self.federation, parsed, &inbound.rules).await?;
        if event.clone().into_pdu()?.room_id() != inbound.room.room_id {
            return Err(PduError::Format(format!("{event_id} is of another room")));
        }
        Ok(event)
    }

    /// Those of some events that this server does not have in any form.
    pub(crate) async fn unknown(
        &self,
        inbound: &Inbound,
        events: Vec<OwnedEventId>,
    ) -> Result<Vec<OwnedEventId>, PduError> {
        let room = inbound.room.nid;
        self.store
            .read(move |tx| {
                let mut unknown = Vec::new();
                for event_id in events {
                    if tx.event_nid(room, &event_id)?.is_none() {
                        unknown.push(event_id);
                    }
                }
                Ok(unknown)
            })
            .await
    }
}
