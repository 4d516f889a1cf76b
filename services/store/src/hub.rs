//! Who waits for what. The writer announces what it committed; only those who asked for it wake.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{Notify, broadcast};

use crate::{Position, RoomNid, ServerNid, UserNid};

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

type Waiters = HashMap<Topic, Vec<Weak<Notify>>>;

#[derive(Debug)]
pub(crate) struct Hub {
    waiters: Arc<Mutex<Waiters>>,
    taps: broadcast::Sender<Announcement>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            waiters: Arc::default(),
            taps: broadcast::channel(TAP_DEPTH).0,
        }
    }

    pub(crate) fn listen(&self, topics: impl IntoIterator<Item = Topic>) -> Listener {
        let notify = Arc::new(Notify::new());
        let topics: HashSet<Topic> = topics.into_iter().collect();
        let mut waiters = lock(&self.waiters);
        for topic in &topics {
            waiters
                .entry(*topic)
                .or_default()
                .push(Arc::downgrade(&notify));
        }
        drop(waiters);
        Listener {
            notify,
            topics,
            waiters: Arc::clone(&self.waiters),
        }
    }

    pub(crate) fn tap(&self) -> broadcast::Receiver<Announcement> {
        self.taps.subscribe()
    }

    pub(crate) fn announce(&self, position: Position, topics: HashSet<Topic>) {
        if topics.is_empty() {
            return;
        }
        let waiters = lock(&self.waiters);
        for notify in topics
            .iter()
            .filter_map(|topic| waiters.get(topic))
            .flatten()
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
        let own = Arc::as_ptr(&self.notify);
        let mut waiters = lock(&self.waiters);
        for topic in &self.topics {
            if let Some(list) = waiters.get_mut(topic) {
                list.retain(|waiter| waiter.as_ptr() != own);
                if list.is_empty() {
                    waiters.remove(topic);
                }
            }
        }
    }
}

fn lock(waiters: &Mutex<Waiters>) -> std::sync::MutexGuard<'_, Waiters> {
    waiters.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_before_waiting_is_not_lost_and_others_sleep_on() {
        let hub = Hub::new();
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
        let hub = Hub::new();
        let first = hub.listen([Topic::Room(RoomNid(1))]);
        let second = hub.listen([Topic::Room(RoomNid(1))]);
        drop(first);
        assert_eq!(lock(&hub.waiters)[&Topic::Room(RoomNid(1))].len(), 1);
        drop(second);
        assert!(lock(&hub.waiters).is_empty());
    }
}
