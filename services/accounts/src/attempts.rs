//! How often somebody may try the password of an account, wherever they come from.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ruma::{OwnedUserId, UserId};

use crate::{Error, Result, expiring::Expiring};

/// Wrong passwords in a row, after which an account rests.
const MAX_FAILURES: u32 = 50;

/// For how long it rests, and after which time without an attempt earlier ones are forgotten.
const REST: Duration = Duration::from_mins(15);

/// Accounts remembered.
const CAPACITY: usize = 10_000;

/// Attempts that have not succeeded, by the user id that was named, whether there is such an account or not.
#[derive(Debug)]
pub(crate) struct Attempts {
    failures: Expiring<OwnedUserId, u32>,
    counting: Mutex<()>,
}

impl Default for Attempts {
    fn default() -> Self {
        let rest_ms = u64::try_from(REST.as_millis()).unwrap_or(u64::MAX);
        Self {
            failures: Expiring::new(CAPACITY, rest_ms),
            counting: Mutex::default(),
        }
    }
}

impl Attempts {
    /// Counts an attempt, before its outcome is known: many at once are no way around.
    ///
    /// # Errors
    ///
    /// [`Error::TryLater`].
    pub(crate) fn begin(&self, user_id: &UserId, now_ms: u64) -> Result<()> {
        let _one = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        let user_id = user_id.to_owned();
        let failures = self.failures.get(&user_id, now_ms).unwrap_or(0);
        if failures >= MAX_FAILURES {
            return Err(Error::TryLater(REST));
        }
        self.failures.insert(user_id, failures + 1, now_ms);
        Ok(())
    }

    /// The password was right: what came before does not count any more.
    pub(crate) fn succeeded(&self, user_id: &UserId, now_ms: u64) {
        self.failures.remove(&user_id.to_owned(), now_ms);
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn an_account_rests_after_many_failures_and_others_do_not() {
        let attempts = Attempts::default();
        let (alice, bob) = (user_id!("@alice:one.lu"), user_id!("@bob:one.lu"));
        for _ in 0..MAX_FAILURES {
            attempts.begin(alice, 0).unwrap();
        }
        assert!(matches!(attempts.begin(alice, 1), Err(Error::TryLater(_))));
        assert!(attempts.begin(bob, 1).is_ok());
        let later = u64::try_from(REST.as_millis()).unwrap();
        assert!(attempts.begin(alice, later).is_ok());
    }

    #[test]
    fn the_right_password_clears_the_record() {
        let attempts = Attempts::default();
        let alice = user_id!("@alice:one.lu");
        for _ in 0..MAX_FAILURES - 1 {
            attempts.begin(alice, 0).unwrap();
        }
        attempts.begin(alice, 0).unwrap();
        attempts.succeeded(alice, 0);
        assert!(attempts.begin(alice, 0).is_ok());
    }
}
