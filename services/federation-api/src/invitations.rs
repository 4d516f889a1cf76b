//! How fast peers may invite: an invite needs no common room, and each one disturbs somebody.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};

/// Invites of one peer: in a second, and at once.
const PEER_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("10 is not zero");
const PEER_BURST: NonZeroU32 = NonZeroU32::new(100).expect("100 is not zero");

/// Invites of one user, whoever sends them: in a minute, and at once.
const USER_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).expect("10 is not zero");
const USER_BURST: NonZeroU32 = NonZeroU32::new(50).expect("50 is not zero");

/// After so many invites, buckets that have filled up again are dropped.
const TIDY_EVERY: u64 = 1_000;

type Buckets<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock>;

/// Token buckets by peer and by invited user.
#[derive(Debug)]
pub(crate) struct Invitations {
    peers: Buckets<OwnedServerName>,
    users: Buckets<OwnedUserId>,
    checks: AtomicU64,
}

impl Invitations {
    pub(crate) fn new() -> Self {
        let peer = Quota::per_second(PEER_PER_SECOND).allow_burst(PEER_BURST);
        let user = Quota::per_minute(USER_PER_MINUTE).allow_burst(USER_BURST);
        Self {
            peers: RateLimiter::keyed(peer),
            users: RateLimiter::keyed(user),
            checks: AtomicU64::new(0),
        }
    }

    /// Takes one invite out of both buckets.
    ///
    /// # Errors
    ///
    /// How long to wait, where one of them is empty.
    pub(crate) fn check(&self, peer: &ServerName, user: &UserId) -> Result<(), Duration> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            self.peers.retain_recent();
            self.users.retain_recent();
        }
        take(&self.peers, &peer.to_owned())?;
        take(&self.users, &user.to_owned())
    }
}

fn take<K: Clone + Eq + Hash>(buckets: &Buckets<K>, key: &K) -> Result<(), Duration> {
    buckets.check_key(key).map_err(|full| {
        let now = DefaultClock::default().now();
        full.wait_time_from(now).max(Duration::from_secs(1))
    })
}

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};

    use super::*;

    /// How many of `count` invites pass.
    fn passing(count: u32, mut invite: impl FnMut(u32) -> Result<(), Duration>) -> u32 {
        (0..count).map(|n| u32::from(invite(n).is_ok())).sum()
    }

    #[test]
    fn a_flood_of_invites_is_cut_off() {
        let invitations = Invitations::new();
        let (bad, good) = (server_name!("bad.lu"), server_name!("good.lu"));
        let (alice, bob) = (user_id!("@alice:own.lu"), user_id!("@bob:own.lu"));
        // One user is spared first, from whomever.
        let of_alice = passing(80, |_| invitations.check(bad, alice));
        assert!((USER_BURST.get()..80).contains(&of_alice), "{of_alice}");
        assert!(invitations.check(good, alice).is_err());
        assert!(invitations.check(good, bob).is_ok());
        // Then everybody, from the one.
        let of_all = passing(500, |n| {
            let user = UserId::parse(format!("@{n}:own.lu")).unwrap();
            invitations.check(bad, &user)
        });
        assert!(of_all < 400, "{of_all}");
    }
}
