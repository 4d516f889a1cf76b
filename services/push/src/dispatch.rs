//! Finds out which committed events are to be told to gateways.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use luxchat_store::{
    Announcement, Position, PushCandidate, PusherNid, ReadTx, RoomNid, Stretch, Topic, UserNid,
};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    Push, Result,
    delivery::Deliveries,
    evaluate::{Evaluator, PushEvent},
    profile::Outcome,
};

/// How often is noted that pushers with nothing to deliver have nothing to deliver.
const TICK: Duration = Duration::from_mins(1);

/// Pushers read at once at the start.
const PAGE: u32 = 1_000;

/// Rooms of which it is kept in memory whose pushers they concern.
const ROOMS: usize = 20_000;

/// Events of a room that are read at once.
const EVENTS: u32 = 500;

/// Whose pushers were changed.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    changed: Mutex<HashSet<UserNid>>,
    notify: Notify,
}

impl Signals {
    pub(crate) fn pushers_changed(&self, user: UserNid) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.insert(user);
        self.notify.notify_one();
    }

    fn take(&self) -> HashSet<UserNid> {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *changed)
    }
}

impl Push {
    /// Delivers notifications until it is told to stop. What is not delivered by then is delivered after the next start.
    pub async fn run(self, stop: CancellationToken) {
        // Without gateways no pusher has anywhere to deliver to.
        if self.shared.config.gateways.is_empty() {
            stop.cancelled().await;
            return;
        }
        let deliveries = Deliveries::new(self.clone(), stop.clone());
        let mut dispatcher = Dispatcher {
            tap: self.store().tap(),
            push: self,
            deliveries,
            seen: Position::START,
            pushers: HashMap::new(),
            members: Arc::default(),
        };
        if let Err(error) = dispatcher.begin().await {
            warn!(%error, "pushers cannot be read: nothing is pushed until the next start");
            return;
        }
        stop.run_until_cancelled(dispatcher.follow()).await;
        dispatcher.deliveries.finish().await;
    }
}

struct Dispatcher {
    push: Push,
    tap: broadcast::Receiver<Announcement>,
    deliveries: Deliveries,
    /// Up to here every event was looked at.
    seen: Position,
    pushers: HashMap<UserNid, Vec<PusherNid>>,
    /// Members with pushers.
    members: Arc<HashMap<RoomNid, Vec<UserNid>>>,
}

/// What a look at the log found.
#[derive(Default)]
struct Found {
    notified: Vec<(UserNid, PushCandidate)>,
    members: Vec<(RoomNid, Vec<UserNid>)>,
}

impl Dispatcher {
    /// Reads the pushers. What came while nobody looked is found by each of them from its cursor on.
    async fn begin(&mut self) -> Result<()> {
        self.seen = self.push.store().read(|tx| tx.position()).await?;
        let mut last = PusherNid(0);
        loop {
            let page = self
                .push
                .store()
                .read(move |tx| tx.pushers_after(last, PAGE))
                .await?;
            let Some(newest) = page.last() else { break };
            last = newest.nid;
            for pusher in page {
                self.pushers
                    .entry(pusher.user)
                    .or_default()
                    .push(pusher.nid);
                self.deliveries.catch_up(pusher.nid);
            }
        }
        Ok(())
    }

    async fn follow(&mut self) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let push = self.push.clone();
            let outcome = tokio::select! {
                announced = self.tap.recv() => self.announced(announced).await,
                () = push.shared.signals.notify.notified() => self.pushers_changed().await,
                _ = ticks.tick() => self.deliveries.note_idle(self.seen).await,
            };
            if let Err(error) = outcome {
                // A store that fails is its own trouble; the pushers find what was missed from their cursors on.
                warn!(%error, "events cannot be looked at for push");
                self.catch_up_all();
            }
        }
    }

    fn catch_up_all(&self) {
        for pusher in self.pushers.values().flatten() {
            self.deliveries.catch_up(*pusher);
        }
    }

    async fn pushers_changed(&mut self) -> Result<()> {
        for user in self.push.shared.signals.take() {
            let pushers = self
                .push
                .store()
                .read(move |tx| tx.pushers_of(user))
                .await?;
            let known = self.pushers.remove(&user).unwrap_or_default();
            let pushers: Vec<PusherNid> = pushers.iter().map(|pusher| pusher.nid).collect();
            for pusher in &pushers {
                if !known.contains(pusher) {
                    // It is told of what came since it was set.
                    self.deliveries.catch_up(*pusher);
                }
            }
            if !pushers.is_empty() {
                self.pushers.insert(user, pushers);
            }
            self.members = Arc::default();
        }
        Ok(())
    }

    async fn announced(
        &mut self,
        announced: std::result::Result<Announcement, broadcast::error::RecvError>,
    ) -> Result<()> {
        let Ok(announcement) = announced else {
            // So much has happened that nobody knows where.
            self.seen = self.push.store().read(|tx| tx.position()).await?;
            self.members = Arc::default();
            self.catch_up_all();
            return Ok(());
        };
        if announcement.position <= self.seen {
            return Ok(());
        }
        let (after, until) = (self.seen, announcement.position);
        self.seen = until;
        if self.pushers.is_empty() {
            return Ok(());
        }
        let mut rooms = Vec::new();
        let mut users = Vec::new();
        for topic in announcement.topics.iter() {
            match topic {
                Topic::Room(room) => rooms.push(*room),
                Topic::User(user) if self.pushers.contains_key(user) => users.push(*user),
                _ => {}
            }
        }
        for pusher in users
            .iter()
            .filter_map(|user| self.pushers.get(user))
            .flatten()
        {
            self.deliveries.recount(*pusher);
        }
        let invited = users;
        let (push, members) = (self.push.clone(), Arc::clone(&self.members));
        let stretch = Stretch {
            after: after.0,
            until: until.0,
        };
        let look = move |tx: &ReadTx<'_>| {
            let mut found = Found::default();
            for room in rooms {
                push.look_at_room(tx, room, stretch, &members, &mut found)?;
            }
            for user in invited {
                look_at_invites(tx, user, after, &mut found)?;
            }
            Ok::<_, crate::Error>(found)
        };
        let found = self.push.store().read(look).await?;
        self.remember(found.members);
        for (user, candidate) in found.notified {
            for pusher in self.pushers.get(&user).into_iter().flatten() {
                self.deliveries.add(*pusher, candidate);
            }
        }
        Ok(())
    }

    fn remember(&mut self, members: Vec<(RoomNid, Vec<UserNid>)>) {
        if members.is_empty() {
            return;
        }
        let held = Arc::make_mut(&mut self.members);
        if held.len() > ROOMS {
            held.clear();
        }
        held.extend(members);
    }
}

impl Push {
    /// Finds which members of a room a stretch of its timeline notifies.
    fn look_at_room(
        &self,
        tx: &ReadTx<'_>,
        room: RoomNid,
        mut stretch: Stretch,
        known: &HashMap<RoomNid, Vec<UserNid>>,
        found: &mut Found,
    ) -> Result<()> {
        let is_known = known.contains_key(&room) && !tx.has_membership_change(room, stretch)?;
        let fresh;
        let members = if let Some(members) = known.get(&room).filter(|_| is_known) {
            members
        } else {
            fresh = tx.pushed_members(room)?;
            found.members.push((room, fresh.clone()));
            &fresh
        };
        if members.is_empty() {
            return Ok(());
        }
        let mut rows = tx.timeline_forward(room, stretch, EVENTS)?;
        if rows.is_empty() {
            return Ok(());
        }
        let room_id = self.room_id(tx, room)?;
        let push_room = tx.push_room(room)?;
        let mut rules = Vec::with_capacity(members.len());
        for member in members {
            let of_member = self.rules_of(tx, *member)?;
            if of_member.profile.outcome(&room_id) != Outcome::Nothing {
                rules.push(of_member);
            }
        }
        let evaluators = rules
            .iter()
            .map(|rules| Ok((rules.user, Evaluator::new(tx, rules, room, &push_room)?)))
            .collect::<Result<Vec<_>>>()?;
        while let Some(newest) = rows.last().and_then(|row| row.pos) {
            for row in &rows {
                let Some(event) = PushEvent::new(row) else {
                    continue;
                };
                let candidate = PushCandidate {
                    at: Position(row.pos.unwrap_or_default()),
                    event: row.nid,
                };
                for (user, evaluator) in &evaluators {
                    if evaluator.judge(&event).is_some() {
                        found.notified.push((*user, candidate));
                    }
                }
            }
            stretch.after = newest;
            rows = tx.timeline_forward(room, stretch, EVENTS)?;
        }
        Ok(())
    }
}

/// The rules are asked when it is delivered: an invite is nothing that comes by the thousand.
fn look_at_invites(
    tx: &ReadTx<'_>,
    user: UserNid,
    after: Position,
    found: &mut Found,
) -> Result<()> {
    for candidate in tx.invites_after(user, after)? {
        found.notified.push((user, candidate));
    }
    Ok(())
}
