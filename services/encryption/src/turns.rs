//! One at a time for each server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use ruma::{OwnedServerName, ServerName};
use tokio::sync::OwnedMutexGuard;

/// Who is asking which server. When a user joins a large room, everybody's client asks for their keys: the first one
/// fetches them, and the others find them cached.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<OwnedServerName, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits until nobody else asks `server`; it is the caller's turn for as long as it keeps the guard.
    pub(crate) async fn wait_for(&self, server: &ServerName) -> OwnedMutexGuard<()> {
        let turn = self.turn(server);
        turn.lock_owned().await
    }

    fn turn(&self, server: &ServerName) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(server).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(server.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn servers_do_not_wait_for_each_other_and_leave_nothing_behind() {
        let turns = Turns::default();
        let [a, b, c] =
            ["a.example", "b.example", "c.example"].map(|name| ServerName::parse(name).unwrap());
        let first = turns.wait_for(&a).await;
        let _other = turns.wait_for(&b).await;
        assert!(turns.turn(&a).try_lock().is_err());
        drop(first);
        assert!(turns.turn(&a).try_lock().is_ok());
        let _third = turns.wait_for(&c).await;
        assert_eq!(turns.0.lock().unwrap().len(), 2);
    }
}
