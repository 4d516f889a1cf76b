use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use ruma::{OwnedServerName, ServerName};
use tokio::sync::OwnedMutexGuard;

/// One at a time for each server. What no one waits for takes no memory.
#[derive(Debug, Default)]
pub struct Turns {
    running: Mutex<HashMap<OwnedServerName, Weak<tokio::sync::Mutex<()>>>>,
}

impl Turns {
    /// Waits until no one else holds the turn of `server`. First come, first served.
    pub async fn take(&self, server: &ServerName) -> OwnedMutexGuard<()> {
        self.turn_of(server).lock_owned().await
    }

    fn turn_of(&self, server: &ServerName) -> Arc<tokio::sync::Mutex<()>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = running.get(server).and_then(Weak::upgrade) {
            return turn;
        }
        running.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        running.insert(server.to_owned(), Arc::downgrade(&turn));
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
