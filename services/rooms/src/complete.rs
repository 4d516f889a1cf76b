//! Fetching the members that are missing from a room's state since this server joined it.
//!
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/3902>

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use luxchat_store::{
    EventNid, EventStatus, PartialRoom, PartialRooms, Pdu, RoomNid, StateChange, Topic, WriteTx,
};
use ruma::{OwnedServerName, RoomId};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::{
    Error, Origin, PduError, Result, Rooms,
    accept::authorise_as_current,
    gap_states::{Trust, WITNESSES},
    receive::Inbound,
    resolve::{State, resolve},
};

/// Rooms completed at a time.
const PARALLEL: usize = 4;

/// Rooms looked up in one go.
const BATCH: u32 = 256;

/// Servers asked in one attempt.
const MAX_SERVERS: usize = 10;

/// How long one server may take to tell a room's state.
const TIME: Duration = Duration::from_mins(5);

/// When to try again after each attempt that failed; after more, the last of these.
const RETRIES: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
];

/// How often to look for rooms that are due.
const PERIOD: Duration = Duration::from_secs(5);

/// Entries added to a room's state by one write, so that other writes need not wait for long.
const FILL_BATCH: usize = 256;

impl Rooms {
    /// Completes rooms whose state lacks members, as soon as they are due. Does not end.
    pub async fn keep_completing(&self) {
        loop {
            if let Err(error) = self.complete_due().await {
                warn!(%error, "rooms that lack members could not be completed");
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = self.partial_rooms_changed.notified() => {}
            }
        }
    }

    /// Tries to complete the rooms that are due, and answers with how many there were. One that cannot be completed is put
    /// off. One that becomes due meanwhile is taken up without waiting for the others.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn complete_due(&self) -> Result<usize> {
        let mut count = 0;
        let mut under_way: HashSet<RoomNid> = HashSet::new();
        let mut work = stream::FuturesUnordered::new();
        loop {
            for partial in self.due(&under_way).await? {
                if work.len() >= PARALLEL {
                    break;
                }
                under_way.insert(partial.room);
                count += 1;
                work.push(async move {
                    let done = self.attempt(&partial).await;
                    (partial.room, done)
                });
            }
            if work.is_empty() {
                return Ok(count);
            }
            tokio::select! {
                Some((room, done)) = work.next() => {
                    under_way.remove(&room);
                    done?;
                }
                () = self.partial_rooms_changed.notified() => {}
            }
        }
    }

    /// How many rooms lack members.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn partial_rooms(&self) -> luxchat_store::Result<PartialRooms> {
        self.store.read(|tx| tx.partial_rooms()).await
    }

    /// Waits until no members are missing from a room's state, where any are.
    ///
    /// # Errors
    ///
    /// [`Error::Incomplete`] where that takes longer than `patience`.
    pub async fn await_members(&self, room_id: &RoomId, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let mut listener = None;
        loop {
            let id = room_id.to_owned();
            let room = self.store.read(move |tx| tx.room_by_id(&id)).await?;
            let Some(room) = room.filter(luxchat_store::Room::is_partial) else {
                return Ok(());
            };
            let Some(listener) = &listener else {
                // It may have been completed before anybody listened.
                listener = Some(self.store.listen([Topic::Room(room.nid)]));
                continue;
            };
            if tokio::time::timeout_at(deadline, listener.changed())
                .await
                .is_err()
            {
                return Err(Error::Incomplete);
            }
        }
    }

    async fn due(&self, under_way: &HashSet<RoomNid>) -> Result<Vec<PartialRoom>> {
        let now_ms = self.store.clock().now_ms();
        let mut due = self
            .store
            .read(move |tx| tx.next_partial_rooms(BATCH))
            .await?;
        due.retain(|partial| is_due(partial, now_ms) && !under_way.contains(&partial.room));
        Ok(due)
    }

    async fn attempt(&self, partial: &PartialRoom) -> Result<()> {
        let room_id = &partial.room_id;
        let error = match self.complete_room(partial).await {
            Ok(()) => {
                info!(%room_id, "a room has all its members");
                return Ok(());
            }
            Err(PduError::Store(error)) => return Err(error.into()),
            Err(error) => error,
        };
        let delay = delay_after(partial.attempts);
        warn!(%room_id, %error, ?delay, "a room still lacks members");
        let retry_ts = self.time_after(delay);
        let (room, join, error) = (partial.room, partial.join, error.to_string());
        self.store
            .write(move |tx| {
                if !tx.is_resident(room)? {
                    // Whoever left is told nothing more of the room. If somebody joins again, it begins anew.
                    return tx.end_partial(room);
                }
                match tx.partial_room(room)? {
                    Some(partial) if partial.join == join => {
                        tx.put_off_partial(room, retry_ts, &error)
                    }
                    _ => Ok(()),
                }
            })
            .await?;
        Ok(())
    }

    /// Fetches the state before the join from one of the servers in the room, and judges all that came since by it.
    async fn complete_room(&self, partial: &PartialRoom) -> Result<(), PduError> {
        let mut last = PduError::NotInRoom;
        let servers = self.servers_to_ask(partial).await?;
        for server in &servers {
            let fetched = self.fetch_state(partial, server, &servers);
            let fetched = tokio::time::timeout(TIME, fetched);
            let fetched = fetched.await;
            let state = match fetched.unwrap_or(Err(PduError::Limit("the time to tell a state"))) {
                Ok(state) => state,
                Err(PduError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    info!(%server, room_id = %partial.room_id, %error, "a server does not tell the state");
                    last = error;
                    continue;
                }
            };
            self.fill_state(partial, &state).await?;
            return self.replay(partial, state).await;
        }
        Err(last)
    }

    async fn servers_to_ask(
        &self,
        partial: &PartialRoom,
    ) -> Result<Vec<OwnedServerName>, PduError> {
        let room = partial.room;
        let residents = self.store.read(move |tx| tx.servers_in_room(room)).await?;
        let mut servers = vec![partial.via.clone()];
        servers.extend(residents.into_iter().map(|(_, name)| name));
        let mut seen = HashSet::new();
        servers.retain(|server| server != self.server_name() && seen.insert(server.clone()));
        servers.truncate(MAX_SERVERS);
        Ok(servers)
    }

    /// The state before the join, as one server says. Its events are stored as outliers. The server that let the user in is
    /// believed, as it was then; what another says is resolved with what witnesses say, as far as they answer.
    async fn fetch_state(
        &self,
        partial: &PartialRoom,
        server: &OwnedServerName,
        others: &[OwnedServerName],
    ) -> Result<State, PduError> {
        let inbound = self.inbound(server, &partial.room_id).await?;
        let inbound = inbound.ok_or(PduError::NotInRoom)?;
        let join = self.join_of(partial).await?;
        // What this server has of the events before may itself lack members.
        let parents = join.prev_events().to_vec();
        let count = if *server == partial.via { 0 } else { WITNESSES };
        let witnesses = others.iter().filter(|other| *other != server);
        let witnesses: Vec<OwnedServerName> = witnesses.take(count).cloned().collect();
        let states = self
            .states_after_missing(&inbound, &parents, &witnesses, Trust::AnyWord)
            .await?;
        let states: Vec<State> = states.into_values().collect();
        self.check_state(&inbound, join, states).await
    }

    async fn join_of(&self, partial: &PartialRoom) -> Result<Arc<Pdu>, PduError> {
        let join = partial.join;
        let pdu = self.store.read(move |tx| tx.event_by_nid(join)?.into_pdu());
        Ok(Arc::new(pdu.await?))
    }

    /// Resolves the states after the parents of the join. The state must bear the join out: another is no state of the room
    /// that the user was let into.
    async fn check_state(
        &self,
        inbound: &Inbound,
        join: Arc<Pdu>,
        states: Vec<State>,
    ) -> Result<State, PduError> {
        let (room, rules) = (inbound.room.nid, inbound.rules.clone());
        self.store
            .read(move |tx| {
                let state = resolve(tx, room, &rules, &states)?;
                let event = authorise_as_current(tx, room, &rules, join, &state)?;
                if event.status() == EventStatus::Accepted {
                    Ok(state)
                } else {
                    let reason = event.reason().unwrap_or("no reason given");
                    Err(PduError::Format(format!(
                        "the state does not allow the join: {reason}"
                    )))
                }
            })
            .await
    }

    /// Adds the missing members to the room's current state, a few at a time. Whoever was heard of since stays as they are.
    async fn fill_state(&self, partial: &PartialRoom, state: &State) -> Result<(), PduError> {
        let room = partial.room;
        let entries: Vec<StateChange> = state
            .iter()
            .map(|(key, event)| StateChange {
                key: *key,
                event: Some(*event),
            })
            .collect();
        for batch in entries.chunks(FILL_BATCH) {
            let batch = batch.to_vec();
            self.store.write(move |tx| fill_in(tx, room, batch)).await?;
        }
        debug!(room_id = %partial.room_id, entries = entries.len(), "a room's state is here");
        Ok(())
    }

    /// An inbound room for events that are here already.
    pub(crate) async fn stored_inbound(&self, partial: &PartialRoom) -> Result<Inbound, PduError> {
        let inbound = self.inbound(&partial.via, &partial.room_id).await?;
        let mut inbound = inbound.ok_or(PduError::NotInRoom)?;
        inbound.made_by = Origin::Remote;
        Ok(inbound)
    }
}

/// How long a room is put off when it could not be completed after so many attempts.
fn delay_after(attempts: u32) -> Duration {
    let attempts = usize::try_from(attempts).unwrap_or(usize::MAX);
    RETRIES[attempts.min(RETRIES.len() - 1)]
}

/// Whether the time has come to try again. What is put off for longer than it ever is was put off by a clock that was ahead.
fn is_due(partial: &PartialRoom, now_ms: u64) -> bool {
    let left_ms = partial.retry_ts.saturating_sub(now_ms);
    let delay = delay_after(partial.attempts.saturating_sub(1));
    left_ms == 0 || u128::from(left_ms) > delay.as_millis()
}

fn fill_in(
    tx: &mut WriteTx<'_>,
    room: RoomNid,
    mut entries: Vec<StateChange>,
) -> Result<(), PduError> {
    let mut room = tx.room(room)?;
    let Some(current) = room.current.filter(|_| room.is_partial()) else {
        return Ok(());
    };
    let members = tx.membership_keys(entries.iter().map(|entry| entry.key))?;
    let mut known: HashSet<EventNid> = HashSet::new();
    for entry in &entries {
        if !members.contains(&entry.key) || tx.state_nid_at(current, entry.key)?.is_some() {
            known.extend(entry.event);
        }
    }
    entries.retain(|entry| entry.event.is_some_and(|event| !known.contains(&event)));
    if entries.is_empty() {
        return Ok(());
    }
    let seq = tx.next_position();
    tx.complete_current_state(&mut room, &entries, seq)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use luxchat_store::{EventNid, RoomNid};
    use ruma::{owned_room_id, owned_server_name};

    use super::*;

    #[test]
    fn a_room_that_a_wrong_clock_put_off_is_due() {
        let partial = |retry_ts| PartialRoom {
            room: RoomNid(1),
            room_id: owned_room_id!("!r:one"),
            join: EventNid(1),
            via: owned_server_name!("one"),
            attempts: 2,
            retry_ts,
            error: None,
        };
        let now_ms = 1_000_000;
        assert!(is_due(&partial(now_ms), now_ms));
        assert!(!is_due(&partial(now_ms + 1), now_ms));
        // The second attempt puts it off for half a minute.
        assert!(!is_due(&partial(now_ms + 30_000), now_ms));
        assert!(is_due(&partial(now_ms + 30_001), now_ms));
    }
}
