//! How fast a user or an address may ask: token buckets, generous, on by default.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};
use luxchat_http::{ApiError, network_of};
use luxchat_store::UserNid;

use crate::config::{Rate, RateLimits};

/// After so many checks, buckets that have filled up again are dropped.
const TIDY_EVERY: u64 = 10_000;

/// Buckets by user and by address.
#[derive(Debug)]
pub(crate) struct Limiter {
    users: Buckets<UserNid>,
    addresses: Buckets<IpAddr>,
    logins: Buckets<IpAddr>,
}

#[derive(Debug)]
struct Buckets<K: Clone + Eq + Hash> {
    limiter: RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock>,
    clock: DefaultClock,
    checks: AtomicU64,
}

impl Limiter {
    pub(crate) fn new(rates: RateLimits) -> Self {
        Self {
            users: Buckets::new(rates.user),
            addresses: Buckets::new(rates.address),
            logins: Buckets::new(rates.login),
        }
    }

    /// Takes one request from a user's bucket.
    ///
    /// # Errors
    ///
    /// 429 `M_LIMIT_EXCEEDED`, as in the next two.
    pub(crate) fn check_user(&self, user: UserNid) -> Result<(), ApiError> {
        self.users.check(&user)
    }

    /// Takes one request without a valid token from an address's bucket.
    pub(crate) fn check_address(&self, address: Option<IpAddr>) -> Result<(), ApiError> {
        self.addresses.check(&bucket(address))
    }

    /// Takes one login or registration from an address's bucket.
    pub(crate) fn check_login(&self, address: Option<IpAddr>) -> Result<(), ApiError> {
        self.logins.check(&bucket(address))
    }
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    fn new(rate: Rate) -> Self {
        let every = rate.every.max(Duration::from_nanos(1));
        let quota = Quota::with_period(every).expect("the period is not zero");
        let quota = quota.allow_burst(rate.burst);
        Self {
            limiter: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            checks: AtomicU64::new(0),
        }
    }

    fn check(&self, key: &K) -> Result<(), ApiError> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(key).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            ApiError::limit_exceeded(wait.max(Duration::from_millis(1)))
        })
    }
}

/// Whose bucket an address takes from; listeners that do not tell addresses share one bucket.
fn bucket(address: Option<IpAddr>) -> IpAddr {
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), network_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_waits() {
        let buckets = Buckets::new(Rate {
            every: Duration::from_hours(1),
            ..Rate::new(2, 1)
        });
        assert!(buckets.check(&"a").is_ok());
        assert!(buckets.check(&"a").is_ok());
        let refused = buckets.check(&"a").unwrap_err();
        assert_eq!(refused.errcode().as_deref(), Some("M_LIMIT_EXCEEDED"));
        assert!(buckets.check(&"b").is_ok());
    }
}
