//! Events that arrived without what they build upon: they are tried again, as their origin will not send them again.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use luxchat_store::{EventStatus, Pdu, WaitingPdu};

use crate::{PduError, Rooms, receive::Inbound};

/// When an event is tried again after each attempt. After the last it is let go: if somebody builds upon it, it comes as
/// their ancestor.
const RETRIES: [Duration; 4] = [
    Duration::from_mins(1),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(6),
];

/// Events tried in one go, and at a time.
const TRIED: u32 = 32;
const PARALLEL: usize = 4;

/// How long one of them may take.
const TIME: Duration = Duration::from_mins(1);

impl Rooms {
    /// Keeps an event for later. Says whether there is room for it.
    pub(crate) async fn keep_waiting(
        &self,
        inbound: &Inbound,
        pdu: &Arc<Pdu>,
    ) -> Result<bool, PduError> {
        let retry_ts = self.time_after(RETRIES[0]);
        let (room, origin, pdu) = (inbound.room.nid, inbound.origin.clone(), Arc::clone(pdu));
        self.store
            .write(move |tx| {
                let (event_id, json) = (pdu.event_id(), pdu.json());
                Ok(tx.keep_waiting_pdu(room, event_id, &origin, json, retry_ts)?)
            })
            .await
    }

    /// Tries events again whose time has come. To be called now and then; answers with how many there were.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn retry_waiting(&self) -> Result<usize, PduError> {
        let now = self.store.clock().now_ms();
        let due: Vec<WaitingPdu> = self
            .store
            .read(move |tx| Ok::<_, PduError>(tx.due_waiting_pdus(now, TRIED)?))
            .await?;
        let count = due.len();
        let tried: Vec<Result<(), PduError>> = stream::iter(due)
            .map(|waiting| async move {
                let result = self.retry(&waiting).await;
                self.settle(waiting, result).await
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        tried.into_iter().collect::<Result<(), _>>()?;
        Ok(count)
    }

    async fn retry(&self, waiting: &WaitingPdu) -> Result<(), PduError> {
        let inbound = self.inbound(&waiting.origin, &waiting.room_id).await?;
        let inbound = inbound.ok_or(PduError::NotInRoom)?;
        self.admit(&inbound).await?;
        // It was verified before it was kept.
        let (event_id, json) = (waiting.event_id.clone(), waiting.json.clone());
        let pdu = Arc::new(Pdu::parse(event_id, json, EventStatus::Accepted)?);
        tokio::time::timeout(TIME, self.receive_one(&inbound, &pdu))
            .await
            .unwrap_or(Err(PduError::Limit(
                "the time to fetch what it builds upon",
            )))
    }

    async fn settle(
        &self,
        waiting: WaitingPdu,
        result: Result<(), PduError>,
    ) -> Result<(), PduError> {
        let attempts = usize::try_from(waiting.attempts).unwrap_or(usize::MAX);
        let again = match &result {
            Err(error) if error.is_passing() || error.may_heal() => RETRIES.get(attempts),
            _ => None,
        };
        let again = again.map(|delay| self.time_after(*delay));
        if let (Err(error), None) = (&result, again) {
            tracing::warn!(
                origin = %waiting.origin,
                event_id = %waiting.event_id,
                %error,
                "an event that waited is dropped"
            );
        }
        self.store
            .write(move |tx| {
                let (room, event_id) = (waiting.room, &waiting.event_id);
                match again {
                    Some(retry_ts) => tx.put_off_waiting_pdu(room, event_id, retry_ts)?,
                    None => tx.delete_waiting_pdu(room, event_id)?,
                }
                Ok(())
            })
            .await
    }

    fn time_after(&self, delay: Duration) -> u64 {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.store.clock().now_ms().saturating_add(delay_ms)
    }
}
