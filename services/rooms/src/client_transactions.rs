//! Requests that take effect once, however often they are made.

use std::time::Duration;

use luxchat_store::{EventNid, ReadTx, UserNid, WriteTx};
use ruma::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId, UserId};

use crate::{Error, Result, Rooms};

/// How long a request that is made again is known to be the same.
pub(crate) const TRANSACTION_MEMORY: Duration = Duration::from_hours(48);

/// Requests forgotten by one write, so that other writes need not wait for long.
const TRANSACTION_BATCH: usize = 500;

/// A request that takes effect once, however often it is made.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers>
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The device that makes the request.
    pub device_id: OwnedDeviceId,
    /// The id that the client gave it.
    pub txn_id: OwnedTransactionId,
}

impl Rooms {
    /// Forgets which events requests of more than [`TRANSACTION_MEMORY`] ago made: a client that repeats one now means it.
    /// To be called now and then; answers with how many there were.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn forget_old_transactions(&self) -> Result<usize> {
        let memory = u64::try_from(TRANSACTION_MEMORY.as_millis()).unwrap_or(u64::MAX);
        let mut total = 0;
        loop {
            let forgotten = self
                .store
                .write(move |tx| {
                    let before = tx.now_ms().saturating_sub(memory);
                    tx.delete_client_transactions_before(before, TRANSACTION_BATCH)
                })
                .await
                .map_err(Error::Store)?;
            total += forgotten;
            if forgotten < TRANSACTION_BATCH {
                return Ok(total);
            }
        }
    }

    /// Where a policy server has to sign the event first, has it do so, sends the event, and remembers the request then.
    pub(crate) async fn once_signed_and_noted(
        &self,
        sent: Result<OwnedEventId>,
        sender: OwnedUserId,
        room_id: OwnedRoomId,
        transaction: Option<Transaction>,
        endpoint: &'static str,
    ) -> Result<OwnedEventId> {
        let Err(Error::Unsigned(_)) = &sent else {
            return sent;
        };
        let event_id = self
            .once_signed(&room_id, sent, |event_id| event_id)
            .await?;
        let id = event_id.clone();
        self.store
            .write(move |tx| {
                let once = Once::new(tx, &sender, transaction, endpoint)?;
                let room = tx.room_by_id(&room_id)?.ok_or(Error::NotFound("room"))?;
                match tx.event_nid(room.nid, &id)? {
                    Some(event) => once.note(tx, &room_id, event),
                    None => Ok(()),
                }
            })
            .await?;
        Ok(event_id)
    }
}

/// Idempotency of one request, in the transaction of its effect.
pub(crate) struct Once {
    user: UserNid,
    transaction: Option<Transaction>,
    endpoint: &'static str,
}

impl Once {
    pub(crate) fn new(
        tx: &mut WriteTx<'_>,
        sender: &UserId,
        transaction: Option<Transaction>,
        endpoint: &'static str,
    ) -> Result<Self> {
        Ok(Self {
            user: tx.user_nid_or_insert(sender)?,
            transaction,
            endpoint,
        })
    }

    /// The event that the request made when it came first.
    pub(crate) fn done(
        &self,
        tx: &ReadTx<'_>,
        room_id: &ruma::RoomId,
    ) -> Result<Option<OwnedEventId>> {
        let Some(Transaction { device_id, txn_id }) = &self.transaction else {
            return Ok(None);
        };
        let scope = self.scope(room_id);
        let found =
            tx.client_transaction(self.user, device_id.as_str(), &scope, txn_id.as_str())?;
        match found.flatten() {
            Some(event) => Ok(Some(tx.event_id(event)?)),
            None => Ok(None),
        }
    }

    pub(crate) fn note(
        &self,
        tx: &mut WriteTx<'_>,
        room_id: &ruma::RoomId,
        event: EventNid,
    ) -> Result<()> {
        let Some(Transaction { device_id, txn_id }) = &self.transaction else {
            return Ok(());
        };
        let scope = self.scope(room_id);
        let (device_id, txn_id) = (device_id.as_str(), txn_id.as_str());
        tx.insert_client_transaction(self.user, device_id, &scope, txn_id, Some(event))?;
        Ok(())
    }

    /// The path of the endpoint, as far as it tells requests with the same id apart.
    fn scope(&self, room_id: &ruma::RoomId) -> String {
        format!("{}/{room_id}", self.endpoint)
    }
}
