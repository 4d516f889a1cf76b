//! Events that users ask to be sent later, unless they say otherwise before.
//!
//! [MSC4140](https://github.com/matrix-org/matrix-spec-proposals/pull/4140)

use std::time::Duration;

use luxchat_store::{DelayOutcome, DelayedEvent, NewDelayedEvent, WriteTx};
use ruma::{
    OwnedUserId, TransactionId, UserId,
    events::{StateEventType, TimelineEventType},
};
use serde_json::value::RawValue;
use tracing::{debug, warn};

use crate::{
    Error, Result, Rooms, SendEvent,
    draft::{Draft, canonical},
    room_writer::RoomWriter,
    send::{check_possible, unchanged},
};

/// The longest that an event may wait.
pub const LONGEST_DELAY: Duration = Duration::from_hours(24);

/// Events of one user that may wait at a time.
const WAITING_OF_USER: usize = 100;

/// Events sent before looking for more that are due.
const BATCH: u32 = 100;

/// The longest time between two looks, whatever is due.
const LONGEST_SLEEP: Duration = Duration::from_mins(10);

/// How long to wait where the store fails.
const RETRY: Duration = Duration::from_secs(5);

/// How long it is known how a delayed event ended.
const MEMORY: Duration = Duration::from_hours(48);

impl Rooms {
    /// Sends an event after a delay, and answers with what names it until then. The same transaction has the same name.
    ///
    /// # Errors
    ///
    /// [`Error::DelayTooLong`], [`Error::TooManyDelayed`], [`Error::Forbidden`] where the user is not in the room,
    /// [`Error::InvalidParam`] for events that other servers or events have a part in: memberships, redactions, aliases.
    pub async fn delay(&self, event: SendEvent, delay: Duration) -> Result<String> {
        if delay > LONGEST_DELAY {
            return Err(Error::DelayTooLong(LONGEST_DELAY));
        }
        if !may_wait(&event.event_type) {
            let why = format!("{} events cannot be delayed", event.event_type);
            return Err(Error::InvalidParam(why));
        }
        canonical(&event.content)?;
        let delay_id = self.store.write(move |tx| note(tx, &event, delay)).await?;
        self.delays_changed.notify_one();
        Ok(delay_id)
    }

    /// The events of a user that still wait.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn delayed_events(&self, user_id: &UserId) -> Result<Vec<DelayedEvent>> {
        let user_id = user_id.to_owned();
        let limit = u32::try_from(WAITING_OF_USER).unwrap_or(u32::MAX);
        self.store
            .read(move |tx| match tx.user_nid(&user_id)? {
                Some(user) => Ok(tx.delayed_events(user, limit)?),
                None => Ok(Vec::new()),
            })
            .await
    }

    /// An event of a user that waits, or did so lately.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn delayed_event(&self, user_id: &UserId, delay_id: String) -> Result<DelayedEvent> {
        let user_id: OwnedUserId = user_id.to_owned();
        self.store
            .read(move |tx| {
                let event = tx.delayed_event(&delay_id)?;
                let event = event.filter(|event| event.user_id == user_id);
                event.ok_or(NOT_FOUND)
            })
            .await
    }

    /// Lets an event wait its whole delay again.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where no such event waits.
    pub async fn restart_delayed(&self, delay_id: String) -> Result<()> {
        // It is looked at when it was due, and is not any more.
        let restarted = self
            .store
            .write(move |tx| tx.restart_delayed_event(&delay_id))
            .await?;
        restarted.then_some(()).ok_or(NOT_FOUND)
    }

    /// Never sends a delayed event.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where no such event waits.
    pub async fn cancel_delayed(&self, delay_id: String) -> Result<()> {
        let cancelled = self
            .store
            .write(move |tx| tx.end_delayed_event(&delay_id, &DelayOutcome::Cancelled))
            .await?;
        cancelled.then_some(()).ok_or(NOT_FOUND)
    }

    /// Sends a delayed event now.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where no such event waits, and what [`send`](Self::send) may say.
    pub async fn send_delayed(&self, delay_id: String) -> Result<()> {
        self.finish_delayed(delay_id, u64::MAX).await
    }

    /// Sends events when they are due, for ever.
    pub async fn keep_sending_delayed(&self) {
        loop {
            let sleep = match self.send_due().await {
                Ok(sleep) => sleep,
                Err(error) => {
                    warn!(%error, "delayed events could not be sent");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.delays_changed.notified() => {}
            }
        }
    }

    /// Sends what is due. How long until something else is.
    pub(crate) async fn send_due(&self) -> Result<Duration> {
        let now_ms = self.store.clock().now_ms();
        let due = self
            .store
            .read(move |tx| tx.due_delayed_events(now_ms, BATCH))
            .await?;
        for delay_id in due {
            match self.finish_delayed(delay_id, now_ms).await {
                Err(Error::Store(error)) => return Err(error.into()),
                // It was cancelled or sent meanwhile, or its end is noted.
                Err(error) => debug!(%error, "a delayed event was not sent"),
                Ok(()) => {}
            }
        }
        let memory = u64::try_from(MEMORY.as_millis()).unwrap_or(u64::MAX);
        let before = now_ms.saturating_sub(memory);
        let next = self
            .store
            .write(move |tx| {
                tx.delete_delayed_events_before(before, BATCH)?;
                tx.next_delayed_event()
            })
            .await?;
        let now_ms = self.store.clock().now_ms();
        let sleep = next.map(|next| Duration::from_millis(next.saturating_sub(now_ms)));
        Ok(sleep.map_or(LONGEST_SLEEP, |sleep| sleep.min(LONGEST_SLEEP)))
    }

    /// Sends an event that is due at `now_ms`, and notes so in the same transaction; where it cannot be sent, notes why.
    async fn finish_delayed(&self, delay_id: String, now_ms: u64) -> Result<()> {
        let (rooms, id) = (self.clone(), delay_id.clone());
        let sent = self
            .store
            .write(move |tx| send_waiting(&rooms, tx, &id, now_ms))
            .await;
        let sent = match sent {
            Err(Error::Unsigned(unsigned)) => self.send_delayed_signed(&delay_id, *unsigned).await,
            other => other,
        };
        let error = match sent {
            Err(error) if !matches!(error, Error::Store(_) | Error::NotFound(_)) => error,
            other => return other,
        };
        let outcome = DelayOutcome::Failed(error.to_string());
        self.store
            .write(move |tx| tx.end_delayed_event(&delay_id, &outcome))
            .await?;
        Err(error)
    }
}

impl Rooms {
    /// The same where the policy server of the room has to sign the event first.
    async fn send_delayed_signed(&self, delay_id: &str, unsigned: crate::Unsigned) -> Result<()> {
        let id = delay_id.to_owned();
        let room_id = self
            .store
            .read(move |tx| tx.delayed_event(&id))
            .await?
            .ok_or(NOT_FOUND)?
            .room_id;
        let unsigned = Err(Error::Unsigned(Box::new(unsigned)));
        let event_id = self
            .once_signed(&room_id, unsigned, |event_id| event_id)
            .await?;
        let (id, outcome) = (delay_id.to_owned(), DelayOutcome::Sent(event_id));
        self.store
            .write(move |tx| tx.end_delayed_event(&id, &outcome))
            .await?;
        Ok(())
    }
}

const NOT_FOUND: Error = Error::NotFound("delayed event");

/// Whether an event is this server's business alone, so that it can be sent in one step.
fn may_wait(event_type: &TimelineEventType) -> bool {
    !matches!(
        event_type,
        TimelineEventType::RoomMember
            | TimelineEventType::RoomRedaction
            | TimelineEventType::RoomCanonicalAlias
    )
}

fn note(tx: &mut WriteTx<'_>, event: &SendEvent, delay: Duration) -> Result<String> {
    let not_in_room = || Error::Forbidden("you are not in the room".to_owned());
    let user = tx.user_nid(&event.sender)?.ok_or_else(not_in_room)?;
    let room = tx.room_by_id(&event.room_id)?.ok_or_else(not_in_room)?.nid;
    if !tx.is_joined(room, user)? {
        return Err(not_in_room());
    }
    let (device_id, txn_id) = match &event.transaction {
        Some(transaction) => (
            transaction.device_id.as_str(),
            Some(transaction.txn_id.as_str()),
        ),
        None => ("", None),
    };
    if let Some(txn_id) = txn_id
        && let Some(known) = tx.delayed_event_of_transaction(user, device_id, room, txn_id)?
    {
        return Ok(known);
    }
    if tx.count_delayed_events(user)? >= WAITING_OF_USER {
        return Err(Error::TooManyDelayed(WAITING_OF_USER));
    }
    let delay_id = TransactionId::new().to_string();
    tx.insert_delayed_event(&NewDelayedEvent {
        delay_id: &delay_id,
        user,
        room,
        event_type: &event.event_type.to_string(),
        state_key: event.state_key.as_deref(),
        content: event.content.get(),
        delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        device_id,
        txn_id,
    })?;
    Ok(delay_id)
}

fn send_waiting(rooms: &Rooms, tx: &mut WriteTx<'_>, delay_id: &str, now_ms: u64) -> Result<()> {
    let delayed = tx.delayed_event(delay_id)?;
    let delayed = delayed
        .filter(|delayed| delayed.end.is_none())
        .ok_or(NOT_FOUND)?;
    if delayed.due_ms > now_ms {
        // It was restarted in the meantime.
        return Ok(());
    }
    let outcome = if is_overtaken(tx, &delayed)? {
        DelayOutcome::Cancelled
    } else {
        let content = RawValue::from_string(delayed.content.clone())
            .map_err(|error| Error::Internal(error.to_string()))?;
        let draft = Draft {
            sender: delayed.user_id,
            event_type: delayed.event_type.into(),
            state_key: delayed.state_key,
            content: canonical(&content)?,
            redacts: None,
        };
        let mut room = RoomWriter::open(rooms, tx, &delayed.room_id)?;
        DelayOutcome::Sent(if let Some(event_id) = unchanged(&room, &draft)? {
            event_id
        } else {
            check_possible(&room, &draft)?;
            room.send(&draft)?.event_id
        })
    };
    tx.end_delayed_event(delay_id, &outcome)?;
    Ok(())
}

/// Whether somebody else has set the state since the event was asked for.
fn is_overtaken(tx: &WriteTx<'_>, delayed: &DelayedEvent) -> Result<bool> {
    let Some(state_key) = &delayed.state_key else {
        return Ok(false);
    };
    let Some(room) = tx.room_by_id(&delayed.room_id)? else {
        return Ok(false);
    };
    let event_type = StateEventType::from(delayed.event_type.as_str());
    let Some(current) = tx.current_state_event(room.nid, &event_type, state_key)? else {
        return Ok(false);
    };
    Ok(current.seq > delayed.seq && tx.user_id(current.sender)? != delayed.user_id)
}

#[cfg(test)]
mod tests {
    use ruma::{RoomId, RoomVersionId};
    use serde_json::{json, value::to_raw_value};

    use super::*;
    use crate::{
        Transaction,
        test_rooms::{TestRooms, content, user},
    };

    const TYPE: &str = "org.example.state";

    fn event(sender: &UserId, room_id: &RoomId, txn_id: Option<&str>) -> SendEvent {
        SendEvent {
            sender: sender.to_owned(),
            room_id: room_id.to_owned(),
            event_type: TYPE.into(),
            state_key: Some(String::new()),
            content: to_raw_value(&json!({ "by": sender })).unwrap(),
            transaction: txn_id.map(|txn_id| Transaction {
                device_id: "DEVICE".into(),
                txn_id: txn_id.into(),
            }),
        }
    }

    async fn state(rooms: &TestRooms, room_id: &RoomId) -> Option<serde_json::Value> {
        let state = rooms.state(room_id, TYPE.into(), "").await;
        state.map(|state| content(&state))
    }

    #[tokio::test]
    async fn an_event_is_sent_once_when_it_is_due() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        let room_id = rooms.public_room(&alice, RoomVersionId::V11).await;
        let wish = event(&alice, &room_id, Some("1"));
        let delay_id = rooms.delay(wish.clone(), Duration::ZERO).await.unwrap();
        let again = rooms.delay(wish, Duration::ZERO).await.unwrap();
        assert_eq!(again, delay_id);
        assert_eq!(rooms.delayed_events(&alice).await.unwrap().len(), 1);
        rooms.send_due().await.unwrap();
        assert_eq!(state(&rooms, &room_id).await, Some(json!({ "by": alice })));
        assert!(rooms.delayed_events(&alice).await.unwrap().is_empty());
        let ended = rooms.delayed_event(&alice, delay_id.clone()).await.unwrap();
        let outcome = ended.end.unwrap().outcome;
        assert!(matches!(outcome, DelayOutcome::Sent(_)), "{outcome:?}");
        for late in [
            rooms.restart_delayed(delay_id.clone()).await,
            rooms.cancel_delayed(delay_id.clone()).await,
            rooms.send_delayed(delay_id).await,
        ] {
            assert!(matches!(late, Err(Error::NotFound(_))), "{late:?}");
        }
    }

    #[tokio::test]
    async fn an_event_can_be_cancelled_or_sent_before() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        let room_id = rooms.public_room(&alice, RoomVersionId::V11).await;
        let hour = Duration::from_hours(1);
        let delay_id = rooms.delay(event(&alice, &room_id, None), hour).await;
        let delay_id = delay_id.unwrap();
        rooms.restart_delayed(delay_id.clone()).await.unwrap();
        assert!(rooms.send_due().await.unwrap() > Duration::ZERO);
        rooms.cancel_delayed(delay_id).await.unwrap();
        assert_eq!(state(&rooms, &room_id).await, None);
        let delay_id = rooms.delay(event(&alice, &room_id, None), hour).await;
        rooms.send_delayed(delay_id.unwrap()).await.unwrap();
        assert!(state(&rooms, &room_id).await.is_some());
    }

    #[tokio::test]
    async fn what_somebody_else_set_meanwhile_stays() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V11).await;
        rooms.enter(&bob, &room_id).await.unwrap();
        let levels = json!({ "users": { alice.as_str(): 100, bob.as_str(): 50 } });
        rooms
            .set_state(&alice, &room_id, "m.room.power_levels", levels)
            .await
            .unwrap();
        let wish = event(&alice, &room_id, None);
        rooms.delay(wish, Duration::ZERO).await.unwrap();
        let by_bob = json!({ "by": "bob" });
        rooms
            .set_state(&bob, &room_id, TYPE, by_bob.clone())
            .await
            .unwrap();
        rooms.send_due().await.unwrap();
        assert_eq!(state(&rooms, &room_id).await, Some(by_bob));
    }

    #[tokio::test]
    async fn who_may_not_send_when_it_is_due_is_told_why() {
        let rooms = TestRooms::new();
        let (alice, bob) = (user("alice"), user("bob"));
        let room_id = rooms.public_room(&alice, RoomVersionId::V11).await;
        let refused = rooms.delay(event(&bob, &room_id, None), Duration::ZERO);
        let refused = refused.await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
        rooms.enter(&bob, &room_id).await.unwrap();
        let delay_id = rooms.delay(event(&bob, &room_id, None), Duration::ZERO);
        let delay_id = delay_id.await.unwrap();
        rooms.send_due().await.unwrap();
        let ended = rooms.delayed_event(&bob, delay_id).await.unwrap();
        let outcome = ended.end.unwrap().outcome;
        assert!(matches!(outcome, DelayOutcome::Failed(_)), "{outcome:?}");
    }

    #[tokio::test]
    async fn delays_have_limits() {
        let rooms = TestRooms::new();
        let alice = user("alice");
        let room_id = rooms.public_room(&alice, RoomVersionId::V11).await;
        let long = LONGEST_DELAY + Duration::from_millis(1);
        let refused = rooms.delay(event(&alice, &room_id, None), long).await;
        assert!(matches!(refused, Err(Error::DelayTooLong(_))));
        for _ in 0..WAITING_OF_USER {
            rooms
                .delay(event(&alice, &room_id, None), LONGEST_DELAY)
                .await
                .unwrap();
        }
        let refused = rooms
            .delay(event(&alice, &room_id, None), LONGEST_DELAY)
            .await;
        assert!(matches!(refused, Err(Error::TooManyDelayed(_))));
        let mut invite = event(&alice, &room_id, None);
        invite.event_type = TimelineEventType::RoomMember;
        let refused = rooms.delay(invite, Duration::ZERO).await;
        assert!(matches!(refused, Err(Error::InvalidParam(_))));
    }
}
