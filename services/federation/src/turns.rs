use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use ruma::OwnedServerName;
use tokio::sync::OwnedMutexGuard;

/// Keys that no one holds any more are looked for once there are so many.
const SWEEP_AT: usize = 64;

/// One at a time for each key: a server, one thing of a server, a room. What no one waits for takes next to no memory.
#[derive(Debug)]
pub struct Turns<K = OwnedServerName> {
    running: Mutex<Running<K>>,
}

#[derive(Debug)]
struct Running<K> {
    turns: HashMap<K, Weak<tokio::sync::Mutex<()>>>,
    sweep_at: usize,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self {
            running: Mutex::new(Running {
                turns: HashMap::new(),
                sweep_at: SWEEP_AT,
            }),
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
        if let Some(turn) = running.turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        if running.turns.len() >= running.sweep_at {
            running.turns.retain(|_, turn| turn.strong_count() > 0);
            running.sweep_at = SWEEP_AT.max(2 * running.turns.len());
        }
        let turn = Arc::default();
        running.turns.insert(key.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[tokio::test]
    async fn turns_are_per_key_in_order() {
        let turns = Turns::default();
        let first = turns.take(server_name!("a.lu")).await;
        let _other = turns.take(server_name!("b.lu")).await;
        let mut second = std::pin::pin!(turns.take(server_name!("a.lu")));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        drop(first);
        second.await;
    }

    #[tokio::test]
    async fn what_no_one_holds_goes() {
        let turns = Turns::<String>::default();
        let held = turns.take("held").await;
        for number in 0..10 * SWEEP_AT {
            turns.take(&number.to_string()).await;
        }
        let mut again = std::pin::pin!(turns.take("held"));
        assert!(futures_util::poll!(again.as_mut()).is_pending());
        assert!(turns.running.lock().unwrap().turns.len() <= SWEEP_AT);
        drop(held);
    }
}
