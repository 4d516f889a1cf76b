//! Look-ups for the auth rules.

use std::cell::RefCell;

use luxchat_store::{Pdu, ReadTx, Room};
use ruma::OwnedEventId;

use crate::PduError;

/// The auth events of an event that are not here.
pub(crate) fn missing_auth_events(
    tx: &ReadTx<'_>,
    room: &Room,
    pdu: &Pdu,
) -> Result<Vec<OwnedEventId>, PduError> {
    let mut missing = Vec::new();
    for event_id in pdu.auth_events() {
        if tx.event_nid(room.nid, event_id)?.is_none() {
            missing.push(event_id.clone());
        }
    }
    Ok(missing)
}

/// Keeps the first error of look-ups that the auth rules make through closures which cannot fail.
#[derive(Debug, Default)]
pub(crate) struct Fetched(RefCell<Option<luxchat_store::Error>>);

impl Fetched {
    /// What `find` finds; nothing where it fails.
    pub(crate) fn keep<T>(
        &self,
        find: impl FnOnce() -> luxchat_store::Result<Option<T>>,
    ) -> Option<T> {
        find().unwrap_or_else(|error| {
            self.0.borrow_mut().get_or_insert(error);
            None
        })
    }

    /// Whether every look-up worked.
    pub(crate) fn check(&self) -> Result<(), PduError> {
        match self.0.borrow_mut().take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}
