//! Who waits for what. The writer announces what it committed; only those who asked for it wake.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, broadcast};

use crate::{Position, RoomNid, ServerNid, UserNid, recent_rooms::RecentRooms};

/// Announcements kept for a slow [`tap`](crate::Store::tap) before it is told that it missed some.
const TAP_DEPTH: usize = 1_024;

/// Something that can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Anything in a room: its timeline, state, receipts, typing.
    Room(RoomNid),
    /// Anything of a user alone: invites, account data, to-device messages, device lists of those they share rooms with.
    User(UserNid),
    /// Something to send to another server.
    Destination(ServerNid),
}

/// What one group of commands changed.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// The newest position on disk.
    pub position: Position,
    /// What changed, without repetition.
    pub topics: Arc<HashSet<Topic>>,
}

/// By number, so that one of very many in a room goes as quickly as one of few.
type Waiters = HashMap<Topic, HashMap<u64, Weak<Notify>>>;

#[derive(Debug)]
pub(crate) struct Hub {
    waiters: Arc<Mutex<Waiters>>,
    /// Listeners so far.
    count: AtomicU64,
    recent: Mutex<RecentRooms>,
    taps: broadcast::Sender<Announcement>,
}

impl Hub {
    /// Nobody waits, and nothing has changed since `position`.
    pub(crate) fn new(position: Position) -> Self {
        Self {
            waiters: Arc::default(),
            count: AtomicU64::new(0),
            recent: Mutex::new(RecentRooms::new(position)),
            taps: broadcast::channel(TAP_DEPTH).0,
        }
    }

    pub(crate) fn listen(&self, topics: impl IntoIterator<Item = Topic>) -> Listener {
        let notify = Arc::new(Notify::new());
        let topics: HashSet<Topic> = topics.into_iter().collect();
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let mut waiters = lock(&self.waiters);
        for topic in &topics {
            let waiting = waiters.entry(*topic).or_default();
            waiting.insert(number, Arc::downgrade(&notify));
        }
        drop(waiters);
        Listener {
            number,
            notify,
            topics,
            waiters: Arc::clone(&self.waiters),
        }
    }

    pub(crate) fn tap(&self) -> broadcast::Receiver<Announcement> {
        self.taps.subscribe()
    }

    /// Remembers which rooms are about to change. The writer says so before it commits: whoever sees the change finds the
    /// room here. Where the commit fails, a room is taken for changed that is not, which costs a look at it.
    pub(crate) fn remember(&self, position: Position, topics: &HashSet<Topic>) {
        let mut recent = lock(&self.recent);
        for topic in topics {
            if let Topic::Room(room) = topic {
                recent.note(*room, position);
            }
        }
    }

    /// The rooms that changed after a position; `None` where that is not known, or they are more than `limit`.
    pub(crate) fn rooms_changed_since(
        &self,
        position: Position,
        limit: usize,
    ) -> Option<BTreeSet<RoomNid>> {
        lock(&self.recent).changed_since(position, limit)
    }

    pub(crate) fn announce(&self, position: Position, topics: HashSet<Topic>) {
        if topics.is_empty() {
            return;
        }
        let waiters = lock(&self.waiters);
        for notify in topics
            .iter()
            .filter_map(|topic| waiters.get(topic))
            .flat_map(HashMap::values)
            .filter_map(Weak::upgrade)
        {
            notify.notify_one();
        }
        drop(waiters);
        // No receiver is no error.
        let _ = self.taps.send(Announcement {
            position,
            topics: Arc::new(topics),
        });
    }
}

/// Wakes when one of its topics changes. What happens between [`Store::listen`](crate::Store::listen) and
/// [`changed`](Self::changed) is not lost: listen first, then read, then wait.
#[derive(Debug)]
pub struct Listener {
    number: u64,
    notify: Arc<Notify>,
    topics: HashSet<Topic>,
    waiters: Arc<Mutex<Waiters>>,
}

impl Listener {
    /// Waits for a change since the last call (or since the listener was made). Cancel-safe.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut waiters = lock(&self.waiters);
        for topic in &self.topics {
            if let Some(waiting) = waiters.get_mut(topic) {
                waiting.remove(&self.number);
                if waiting.is_empty() {
                    waiters.remove(topic);
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_before_waiting_is_not_lost_and_others_sleep_on() {
        let hub = Hub::new(Position::START);
        let room = hub.listen([Topic::Room(RoomNid(1)), Topic::User(UserNid(7))]);
        let other = hub.listen([Topic::Room(RoomNid(2))]);
        hub.announce(Position(1), HashSet::from([Topic::Room(RoomNid(1))]));
        room.changed().await;
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(20), other.changed())
                .await
                .is_err()
        );
    }

    #[test]
    fn a_dropped_listener_leaves_nothing_behind() {
        let hub = Hub::new(Position::START);
        let first = hub.listen([Topic::Room(RoomNid(1))]);
        let second = hub.listen([Topic::Room(RoomNid(1))]);
        drop(first);
        assert_eq!(lock(&hub.waiters)[&Topic::Room(RoomNid(1))].len(), 1);
        drop(second);
        assert!(lock(&hub.waiters).is_empty());
    }
}
