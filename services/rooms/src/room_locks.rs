use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use ruma::{OwnedRoomId, RoomId};
use tokio::sync::OwnedMutexGuard;

/// Locks looked through at most before the unused ones among them go.
const SWEEP_AT: usize = 256;

/// One lock per room, so that what arrives from other servers is worked into a room one thing at a time. Local events do
/// not take it.
#[derive(Debug, Default)]
pub(crate) struct RoomLocks {
    locks: Mutex<Locks>,
}

#[derive(Debug, Default)]
struct Locks {
    by_room: HashMap<OwnedRoomId, Weak<tokio::sync::Mutex<()>>>,
    sweep_at: usize,
}

impl RoomLocks {
    /// Waits for the room's turn. Those who wait are served in order.
    pub(crate) async fn lock(&self, room_id: &RoomId) -> OwnedMutexGuard<()> {
        let lock = self.get(room_id);
        lock.lock_owned().await
    }

    fn get(&self, room_id: &RoomId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.by_room.get(room_id).and_then(Weak::upgrade) {
            return lock;
        }
        if locks.by_room.len() >= locks.sweep_at.max(SWEEP_AT) {
            locks.by_room.retain(|_, lock| lock.strong_count() > 0);
            locks.sweep_at = locks.by_room.len() * 2;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks
            .by_room
            .insert(room_id.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use ruma::room_id;

    use super::*;

    #[tokio::test]
    async fn a_room_is_one_at_a_time_and_others_do_not_wait() {
        let locks = RoomLocks::default();
        let held = locks.lock(room_id!("!a:one")).await;
        let other = locks.lock(room_id!("!b:one")).await;
        assert!(locks.get(room_id!("!a:one")).try_lock().is_err());
        drop((held, other));
        assert!(locks.get(room_id!("!a:one")).try_lock().is_ok());
    }

    #[test]
    fn unused_locks_go() {
        let locks = RoomLocks::default();
        for number in 0..10 * SWEEP_AT {
            let room_id = RoomId::parse(format!("!r{number}:one")).unwrap();
            locks.get(&room_id);
        }
        assert!(locks.locks.lock().unwrap().by_room.len() <= SWEEP_AT);
    }
}
