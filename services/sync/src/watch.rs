//! Waiting for news of a user: one wake-up, whatever the number of their rooms. What a sync waited on is kept for the
//! next one, so that a long poll does not have to be entered with every room anew.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use luxchat_store::{Listener, Position, Topic, UserNid};
use ruma::events::room::member::MembershipState;

use crate::{Result, Sync};

/// Watches kept of one user: one for each of a few devices.
const PER_USER: usize = 4;

/// Rooms over all watches that are kept; those used longest ago are let go of.
const ROOMS: usize = 1_000_000;

/// What wakes a user.
#[derive(Debug)]
pub(crate) struct Watch {
    listener: Listener,
    /// The rooms are those of the user at this position.
    position: Position,
    rooms: usize,
}

impl Watch {
    /// Waits for something that may concern the user.
    pub(crate) async fn changed(&self) {
        self.listener.changed().await;
    }
}

/// Watches that nobody uses just now. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    by_user: HashMap<UserNid, Vec<(u64, Watch)>>,
    /// In the order in which they were put here.
    order: BTreeMap<u64, UserNid>,
    count: u64,
    rooms: usize,
}

impl Watches {
    /// One of a user's, if there is any.
    pub(crate) fn take(&self, user: UserNid) -> Option<Watch> {
        self.lock().take(user)
    }

    /// Keeps one for the next sync.
    pub(crate) fn put(&self, user: UserNid, watch: Watch) {
        let mut table = self.lock();
        table.count += 1;
        let number = table.count;
        table.rooms += watch.rooms + 1;
        table.order.insert(number, user);
        table.by_user.entry(user).or_default().push((number, watch));
        if table.by_user[&user].len() > PER_USER {
            table.drop_oldest_of(user);
        }
        while table.rooms > ROOMS
            && let Some(user) = table.order.values().next().copied()
        {
            table.drop_oldest_of(user);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn take(&mut self, user: UserNid) -> Option<Watch> {
        let watches = self.by_user.get_mut(&user)?;
        let taken = watches.pop();
        if watches.is_empty() {
            self.by_user.remove(&user);
        }
        taken.map(|(number, watch)| self.forget(number, watch))
    }

    fn drop_oldest_of(&mut self, user: UserNid) {
        let Some(watches) = self.by_user.get_mut(&user) else {
            return;
        };
        let (number, watch) = watches.remove(0);
        if watches.is_empty() {
            self.by_user.remove(&user);
        }
        self.forget(number, watch);
    }

    fn forget(&mut self, number: u64, watch: Watch) -> Watch {
        self.order.remove(&number);
        self.rooms -= watch.rooms + 1;
        watch
    }
}

impl Sync {
    /// What wakes a user: an older watch where they are in the same rooms as then.
    pub(crate) async fn watch(&self, user: UserNid, older: Option<Watch>) -> Result<Watch> {
        let store = self.store.clone();
        self.store
            .read(move |tx| {
                let position = tx.position()?;
                if let Some(older) = older
                    && !tx.has_moved_since(user, older.position)?
                {
                    return Ok(Watch { position, ..older });
                }
                let rooms = tx.rooms_of_user(user, &MembershipState::Join)?;
                let topics = rooms.iter().copied().map(Topic::Room);
                Ok(Watch {
                    rooms: rooms.len(),
                    listener: store.listen(topics.chain([Topic::User(user)])),
                    position,
                })
            })
            .await
    }
}
