use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use ruma::OwnedServerName;
use tokio::sync::OwnedMutexGuard;

/// One at a time for each key: a server, or one thing of a server. What no one waits for takes no memory.
#[derive(Debug)]
pub struct Turns<K = OwnedServerName> {
    running: Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash> Turns<K> {
    /// Waits until no one else holds the turn of `key`. First come, first served.
    pub async fn take<Q>(&self, key: &Q) -> OwnedMutexGuard<()>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.turn_of(key).lock_owned().await
    }

    fn turn_of<Q>(&self, key: &Q) -> Arc<tokio::sync::Mutex<()>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = running.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        running.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        running.insert(key.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[tokio::test]
    async fn turns_are_per_server_and_leave_nothing_behind() {
        let turns = Turns::default();
        let first = turns.take(server_name!("a.lu")).await;
        let _other = turns.take(server_name!("b.lu")).await;
        let mut second = std::pin::pin!(turns.take(server_name!("a.lu")));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        drop(first);
        let second = second.await;
        drop(second);
        let _third = turns.take(server_name!("c.lu")).await;
        assert!(
            !turns
                .running
                .lock()
                .unwrap()
                .contains_key(server_name!("a.lu"))
        );
    }
}
