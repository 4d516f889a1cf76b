//! Judging the events of a room anew that came while members were missing from its state.
//!
//! They are taken in the order in which they came, each by the states after its parents, as if the state before the join
//! had been whole from the beginning. What that yields is written beside the room's log of its current state; when all is
//! judged, the current state changes to what it should be, and the room lacks nothing any more.

use std::{collections::HashMap, sync::Arc};

use luxchat_store::{
    Coordinate, Event, EventNid, EventStatus, PartialRoom, Pdu, Position, ReadTx, Rejudged,
    Replayed, Room, StateChange, WriteTx,
};
use ruma::{OwnedEventId, room_version_rules::RoomVersionRules};

use crate::{
    CurrentState, PduError, Rooms,
    append::redact,
    assess::{Assessment, Assessor, Before, Effort, Head, Place, difference},
    partial_view::Threshold,
    policy_server::{is_recommended, policy_of},
    resolve::State,
};

/// Events judged by one write.
const BATCH: usize = 32;

/// How often local events may outrun the end of a replay before it is brought about on the writer's thread.
const ATTEMPTS: usize = 5;

/// A room as it would be had its state never lacked anything.
#[derive(Clone, Debug)]
struct Replay {
    partial: PartialRoom,
    rules: RoomVersionRules,
    threshold: Option<Threshold>,
    head: Head,
    /// The position of the last event that was judged.
    done: Position,
}

/// How far a write came.
enum Pace {
    /// Through all events that it was given.
    Through(Replay),
    /// Up to one that needs state resolution.
    Stuck(Replay, usize),
}

impl Rooms {
    /// Judges all events since the join by the state before it, and ends that the room lacks anything.
    pub(crate) async fn replay(&self, partial: &PartialRoom, state: State) -> Result<(), PduError> {
        let rules = self.stored_inbound(partial).await?.rules;
        let mut replay = {
            let partial = partial.clone();
            self.store
                .write(move |tx| Replay::begin(tx, partial, rules, &state))
                .await?
        };
        replay = self.catch_up(replay).await?;
        for _ in 0..ATTEMPTS {
            // No event from elsewhere comes in between any more.
            let _turn = self.room_turns.take(&partial.room_id).await;
            replay = self.catch_up(replay).await?;
            let (head, changes) = {
                let replay = replay.clone();
                self.store.read(move |tx| replay.outcome(tx)).await?
            };
            let ending = replay.clone();
            let ended = self
                .store
                .write(move |tx| ending.end_unless_changed(tx, &head, &changes))
                .await?;
            if ended {
                return Ok(());
            }
        }
        let _turn = self.room_turns.take(&partial.room_id).await;
        self.store.write(move |tx| replay.end(tx)).await
    }

    /// Judges the events that have come since.
    async fn catch_up(&self, mut replay: Replay) -> Result<Replay, PduError> {
        loop {
            let (room, done) = (replay.partial.room, replay.done);
            let events = self
                .store
                .read(move |tx| tx.events_to_replay(room, done))
                .await?;
            if events.is_empty() {
                return Ok(replay);
            }
            for batch in events.chunks(BATCH) {
                replay = self.judge_batch(replay, batch.to_vec()).await?;
            }
        }
    }

    async fn judge_batch(
        &self,
        mut replay: Replay,
        events: Vec<Replayed>,
    ) -> Result<Replay, PduError> {
        let mut left = events;
        loop {
            let events = left.clone();
            let pace = self
                .store
                .write(move |tx| replay.judge_quickly(tx, &events))
                .await?;
            let (stuck, count) = match pace {
                Pace::Through(replay) => return Ok(replay),
                Pace::Stuck(replay, count) => (replay, count),
            };
            left.drain(..count);
            let hard = left.remove(0);
            let assessment = {
                let replay = stuck.clone();
                self.store
                    .read(move |tx| replay.assess_thoroughly(tx, hard.event))
                    .await?
            };
            replay = self
                .store
                .write(move |tx| {
                    let mut replay = stuck;
                    replay.settle_event(tx, hard, assessment)?;
                    Ok::<_, PduError>(replay)
                })
                .await?;
        }
    }
}

impl Replay {
    /// Writes the whole state down beside the current one, and the join as the first event after it.
    fn begin(
        tx: &mut WriteTx<'_>,
        partial: PartialRoom,
        rules: RoomVersionRules,
        state: &State,
    ) -> Result<Self, PduError> {
        let room = tx.room(partial.room)?;
        let current = room.current.ok_or(PduError::NotInRoom)?;
        let join = tx.event_by_nid(partial.join)?;
        let changes = difference(&tx.state_at(current)?, state);
        let before = fork(tx, &room, current, &changes)?;
        let own = join.state_key.map(|key| StateChange {
            key,
            event: Some(join.nid),
        });
        let after = fork(tx, &room, before, own.as_slice())?;
        tx.rejudge(
            room.nid,
            Rejudged {
                event: join.nid,
                status: join.status,
                before,
                after,
            },
        )?;
        let threshold = match join.pdu()?.prev_events() {
            [parent] => Some(Threshold {
                parent: parent.clone(),
                after: before,
            }),
            _ => None,
        };
        Ok(Self {
            partial,
            rules,
            threshold,
            head: Head {
                tips: vec![join.nid],
                current: after,
            },
            done: join.seq,
        })
    }

    /// Judges events for as long as a few look-ups do.
    fn judge_quickly(
        mut self,
        tx: &mut WriteTx<'_>,
        events: &[Replayed],
    ) -> Result<Pace, PduError> {
        for (count, replayed) in events.iter().enumerate() {
            match self.assess(tx, replayed.event, false)? {
                Assessment::NeedsResolution => return Ok(Pace::Stuck(self, count)),
                assessment => self.apply(tx, *replayed, assessment)?,
            }
        }
        Ok(Pace::Through(self))
    }

    /// Whatever work it takes. `None` where that is too much, or the event makes no sense.
    fn assess_thoroughly(
        &self,
        tx: &ReadTx<'_>,
        event: EventNid,
    ) -> Result<Option<Assessment>, PduError> {
        match self.assess(tx, event, true) {
            Ok(assessment) => Ok(Some(assessment)),
            Err(PduError::Store(error)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(%event, %error, "an event cannot be judged anew");
                Ok(None)
            }
        }
    }

    fn assess(
        &self,
        tx: &ReadTx<'_>,
        event: EventNid,
        thoroughly: bool,
    ) -> Result<Assessment, PduError> {
        let room = tx.room(self.partial.room)?;
        let event = tx.event_by_nid(event)?;
        let own = event.state_key.map(|_| event.nid);
        let effort = if thoroughly {
            Effort::Full { own }
        } else {
            Effort::Quick
        };
        let pdu = Arc::new(as_received(&event)?);
        let gaps = self.gaps(tx, &room, &event, &pdu)?;
        let threshold = self.threshold.clone();
        let assessor = Assessor::complete(tx, &room, &self.rules, &gaps, threshold);
        let mut assessment = assessor.assess_at(self.head.clone(), &pdu, effort)?;
        if let Assessment::Ready(place) = &mut assessment
            && !self.is_recommended(tx, &room, &pdu)?
        {
            place
                .event
                .hold_back("the room's policy server has not signed it");
        }
        Ok(assessment)
    }

    /// The states after the parents of an event that are not here: what another server said when the event came.
    fn gaps(
        &self,
        tx: &ReadTx<'_>,
        room: &Room,
        event: &Event,
        pdu: &Pdu,
    ) -> Result<HashMap<OwnedEventId, State>, PduError> {
        let mut gaps = HashMap::new();
        for parent in pdu.prev_events() {
            let is_threshold = self
                .threshold
                .as_ref()
                .is_some_and(|it| it.parent == *parent);
            if !is_threshold
                && tx.state_after(room.nid, parent)?.is_none()
                && let Some(before) = event.before
            {
                gaps.insert(parent.clone(), tx.state_at(before)?);
            }
        }
        Ok(gaps)
    }

    fn is_recommended(&self, tx: &ReadTx<'_>, room: &Room, pdu: &Pdu) -> Result<bool, PduError> {
        match policy_of(tx, room)? {
            Some(policy) => Ok(is_recommended(&policy, pdu, &self.rules)?),
            None => Ok(true),
        }
    }

    /// The same where an event that could not be assessed is rejected.
    fn settle_event(
        &mut self,
        tx: &mut WriteTx<'_>,
        replayed: Replayed,
        assessment: Option<Assessment>,
    ) -> Result<(), PduError> {
        if let Some(assessment) = assessment {
            return self.apply(tx, replayed, assessment);
        }
        self.done = replayed.seq;
        let event = tx.event_by_nid(replayed.event)?;
        if let Some(before) = event.before {
            let rejudged = Rejudged {
                event: event.nid,
                status: EventStatus::Rejected,
                before,
                after: before,
            };
            tx.rejudge(event.room, rejudged)?;
        }
        Ok(())
    }

    /// Gives an event the place that an assessment says.
    fn apply(
        &mut self,
        tx: &mut WriteTx<'_>,
        replayed: Replayed,
        assessment: Assessment,
    ) -> Result<(), PduError> {
        self.done = replayed.seq;
        let Assessment::Ready(place) = assessment else {
            return Err(PduError::Internal(format!(
                "event {} has no place any more",
                replayed.event
            )));
        };
        let Place {
            before,
            event,
            current,
            ..
        } = *place;
        let room = tx.room(self.partial.room)?;
        let stored = tx.event_by_nid(replayed.event)?;
        let before = match before {
            Before::At(at) => at,
            Before::Changed { from, changes } => fork(tx, &room, from, &changes)?,
        };
        let own = stored
            .state_key
            .filter(|_| event.status() != EventStatus::Rejected)
            .map(|key| StateChange {
                key,
                event: Some(stored.nid),
            });
        let after = fork(tx, &room, before, own.as_slice())?;
        let rejudged = Rejudged {
            event: stored.nid,
            status: event.status(),
            before,
            after,
        };
        if stored.status != event.status() {
            tracing::info!(
                event_id = %stored.event_id,
                was = ?stored.status,
                is = ?event.status(),
                "an event is judged otherwise, now that the room's members are known"
            );
        }
        tx.rejudge(room.nid, rejudged)?;
        if event.status() != EventStatus::Accepted {
            return Ok(());
        }
        self.head.current = match current {
            CurrentState::Follows => after,
            CurrentState::Resolved(changes) => fork(tx, &room, self.head.current, &changes)?,
        };
        let pdu = event.pdu();
        for parent in pdu.prev_events() {
            if let Some(parent) = tx.event_nid(room.nid, parent)? {
                self.head.tips.retain(|tip| *tip != parent);
            }
        }
        self.head.tips.push(stored.nid);
        // Some were put off until their sender was known to be in the room.
        redact(tx, &room, pdu, before, stored.nid)?;
        Ok(())
    }

    /// The room's head as it is, and what to change in its current state.
    fn outcome(&self, tx: &ReadTx<'_>) -> Result<(Head, Vec<StateChange>), PduError> {
        let room = tx.room(self.partial.room)?;
        let head = Head::of(tx, &room)?;
        let current = tx.state_at(head.current)?;
        let whole = tx.state_at(self.head.current)?;
        Ok((head, difference(&current, &whole)))
    }

    /// Ends the replay where the room's head is still the same. Says whether it did.
    fn end_unless_changed(
        &self,
        tx: &mut WriteTx<'_>,
        head: &Head,
        changes: &[StateChange],
    ) -> Result<bool, PduError> {
        let mut room = tx.room(self.partial.room)?;
        if !self.is_current(tx)? {
            return Err(PduError::Busy);
        }
        if Head::of(tx, &room)? != *head {
            return Ok(false);
        }
        self.settle(tx, &mut room, changes)?;
        Ok(true)
    }

    /// Judges what is left and ends the replay.
    fn end(mut self, tx: &mut WriteTx<'_>) -> Result<(), PduError> {
        if !self.is_current(tx)? {
            return Err(PduError::Busy);
        }
        for replayed in tx.events_to_replay(self.partial.room, self.done)? {
            let assessment = self.assess_thoroughly(tx, replayed.event)?;
            self.settle_event(tx, replayed, assessment)?;
        }
        let (_, changes) = self.outcome(tx)?;
        let mut room = tx.room(self.partial.room)?;
        self.settle(tx, &mut room, &changes)
    }

    /// Whether the room has not been joined anew meanwhile.
    fn is_current(&self, tx: &ReadTx<'_>) -> Result<bool, PduError> {
        let partial = tx.partial_room(self.partial.room)?;
        Ok(partial.is_some_and(|partial| partial.join == self.partial.join))
    }

    fn settle(
        &self,
        tx: &mut WriteTx<'_>,
        room: &mut Room,
        changes: &[StateChange],
    ) -> Result<(), PduError> {
        let seq = tx.next_position();
        tx.change_current_state(room, changes, seq)?;
        tx.set_tips(room.nid, &self.head.tips)?;
        tx.end_partial(room.nid)?;
        Ok(())
    }
}

/// The state at some changes from another.
fn fork(
    tx: &mut WriteTx<'_>,
    room: &Room,
    from: Coordinate,
    changes: &[StateChange],
) -> Result<Coordinate, PduError> {
    if changes.is_empty() {
        return Ok(from);
    }
    let at = tx.fork_coordinate(room, from)?;
    let position = tx.next_position();
    tx.record_changes(at, changes, position)?;
    Ok(at)
}

/// An event as it was when it came, whatever was said of it then.
fn as_received(event: &Event) -> Result<Pdu, PduError> {
    let (event_id, json) = (event.event_id.clone(), event.json.clone());
    Ok(Pdu::parse(event_id, json, EventStatus::Accepted)?)
}
