//! Events that arrived without what they build upon: they are tried again, as their origin will not send them again.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use luxchat_store::WaitingPdu;
use ruma::OwnedEventId;

use crate::{
    PduError, Rooms,
    receive::Inbound,
    receive_checks::{ParsedPdu, check_format, parse_text, verify_one},
};

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
        event_id: OwnedEventId,
        json: String,
    ) -> Result<bool, PduError> {
        let retry_ts = self.time_after(RETRIES[0]);
        let (room, origin) = (inbound.room.nid, inbound.origin.clone());
        self.store
            .write(move |tx| Ok(tx.keep_waiting_pdu(room, &event_id, &origin, &json, retry_ts)?))
            .await
    }

    /// The same for one whose signature could not be checked.
    pub(crate) async fn keep_unverified(
        &self,
        inbound: &Inbound,
        pdu: ParsedPdu,
    ) -> Result<bool, PduError> {
        let json = serde_json::to_string(&pdu.object);
        let json = json.map_err(|error| PduError::Internal(error.to_string()))?;
        self.keep_waiting(inbound, pdu.event_id, json).await
    }

    /// Tries events again whose time has come. To be called now and then; answers with how many there were.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn retry_waiting(&self) -> Result<usize, PduError> {
        let now = self.store.clock().now_ms();
        let horizon = self.time_after(RETRIES[RETRIES.len() - 1]);
        let due: Vec<WaitingPdu> = self
            .store
            .read(move |tx| Ok::<_, PduError>(tx.due_waiting_pdus(now, horizon, TRIED)?))
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
        let mut inbound = inbound.ok_or(PduError::NotInRoom)?;
        inbound.is_last_try = waiting.attempts as usize >= RETRIES.len() - 1;
        self.admit(&inbound).await?;
        let parsed = check_format(parse_text(&waiting.json)?, &inbound.rules)?;
        let verified = verify_one(&self.federation, parsed, &inbound.rules).await?;
        let pdu = verified.into_pdu()?;
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

    /// A time from now, in milliseconds since the Unix epoch.
    pub(crate) fn time_after(&self, delay: Duration) -> u64 {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.store.clock().now_ms().saturating_add(delay_ms)
    }
}
