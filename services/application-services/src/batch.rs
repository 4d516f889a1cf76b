//! The events of a service's next transaction.

use luxchat_store::{Position, ReadTx};
use serde::Serialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use crate::{
    Result, Service,
    event::compose,
    interest::{Interest, OwnUsers},
};

/// Events in one transaction.
const MAX_EVENTS: usize = 100;

/// Stored events looked at in one read, so that a service that little concerns does not hold a reader for long.
const EXAMINED: u32 = 500;

#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Box<RawValue>>,
    /// Nothing else up to here concerns the service.
    pub(crate) until: Position,
    /// Whether the log goes on after that.
    pub(crate) more: bool,
}

impl Batch {
    pub(crate) fn read(
        tx: &ReadTx<'_>,
        service: &Service,
        own: &OwnUsers,
        after: Position,
        now_ms: u64,
    ) -> Result<Self> {
        let (logged, horizon) = tx.logged_events(after, EXAMINED)?;
        let mut interest = Interest::new(tx, service, own);
        let mut events = Vec::new();
        for event in logged {
            if events.len() == MAX_EVENTS {
                // The next one is looked at again.
                let until = Position(event.seq.0 - 1);
                let more = true;
                return Ok(Self {
                    events,
                    until,
                    more,
                });
            }
            if interest.has(&event)? {
                events.push(compose(tx, event.nid, now_ms)?);
            }
        }
        Ok(Self {
            events,
            until: horizon,
            more: horizon < tx.position()?,
        })
    }

    /// The body of a transaction with these events.
    pub(crate) fn body(events: &[Box<RawValue>], ephemeral: &[Value]) -> Result<String> {
        #[derive(Serialize)]
        struct Body<'a> {
            events: &'a [Box<RawValue>],
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            ephemeral: &'a [Value],
        }
        let body = to_raw_value(&Body { events, ephemeral });
        let body = body.map_err(|error| luxchat_store::Error::invalid("transaction", error))?;
        Ok(String::from(body.get()))
    }
}
