//! How often users may have something fetched.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ruma::{OwnedUserId, UserId};

const WINDOW: Duration = Duration::from_mins(1);

/// Users that are remembered: with more, those whose minute is over are forgotten.
const REMEMBERED: usize = 10_000;

/// Counts what users had fetched in the minute that began with the first.
#[derive(Debug)]
pub(crate) struct Quota {
    per_window: u32,
    users: Mutex<HashMap<OwnedUserId, (Instant, u32)>>,
}

impl Quota {
    pub(crate) fn new(per_window: u32) -> Self {
        Self {
            per_window,
            users: Mutex::default(),
        }
    }

    /// Counts one more.
    ///
    /// # Errors
    ///
    /// How long to wait, where that is one too many.
    pub(crate) fn take(&self, user: &UserId, now: Instant) -> Result<(), Duration> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= REMEMBERED && !users.contains_key(user) {
            users.retain(|_, (start, _)| now.duration_since(*start) < WINDOW);
            if users.len() >= REMEMBERED {
                return Err(WINDOW);
            }
        }
        let (start, count) = users.entry(user.to_owned()).or_insert((now, 0));
        let passed = now.duration_since(*start);
        if passed >= WINDOW {
            (*start, *count) = (now, 0);
        }
        if *count >= self.per_window {
            return Err(WINDOW.saturating_sub(passed));
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn a_minute_has_room_for_so_many() {
        let quota = Quota::new(2);
        let (alice, bob) = (user_id!("@alice:own.lu"), user_id!("@bob:own.lu"));
        let start = Instant::now();
        assert_eq!(quota.take(alice, start), Ok(()));
        assert_eq!(quota.take(alice, start), Ok(()));
        let later = start + Duration::from_secs(20);
        assert_eq!(quota.take(alice, later), Err(Duration::from_secs(40)));
        assert_eq!(quota.take(bob, later), Ok(()));
        assert_eq!(quota.take(alice, start + WINDOW), Ok(()));
    }
}
