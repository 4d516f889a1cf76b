//! How fast a user or an address may ask: token buckets, generous, on by default.

use std::{net::IpAddr, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};
use luxchat_http::ApiError;
use luxchat_store::UserNid;

use crate::config::{Rate, RateLimits};

type Buckets<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock>;

/// Buckets by user and by address.
#[derive(Debug)]
pub(crate) struct Limiter {
    users: Buckets<UserNid>,
    addresses: Buckets<IpAddr>,
    logins: Buckets<IpAddr>,
    clock: DefaultClock,
}

impl Limiter {
    pub(crate) fn new(rates: RateLimits) -> Self {
        Self {
            users: RateLimiter::keyed(quota(rates.user)),
            addresses: RateLimiter::keyed(quota(rates.address)),
            logins: RateLimiter::keyed(quota(rates.login)),
            clock: DefaultClock::default(),
        }
    }

    /// Takes one request from a user's bucket.
    pub(crate) fn check_user(&self, user: UserNid) -> Result<(), ApiError> {
        self.users
            .check_key(&user)
            .map_err(|wait| limited(wait.wait_time_from(self.clock.now())))
    }

    /// Takes one request from an address's bucket.
    pub(crate) fn check_address(&self, address: IpAddr) -> Result<(), ApiError> {
        self.addresses
            .check_key(&address)
            .map_err(|wait| limited(wait.wait_time_from(self.clock.now())))
    }

    /// Takes one login or registration from an address's bucket.
    pub(crate) fn check_login(&self, address: IpAddr) -> Result<(), ApiError> {
        self.logins
            .check_key(&address)
            .map_err(|wait| limited(wait.wait_time_from(self.clock.now())))
    }
}

fn quota(rate: Rate) -> Quota {
    Quota::per_second(rate.per_second).allow_burst(rate.burst)
}

fn limited(wait: Duration) -> ApiError {
    ApiError::limit_exceeded(wait.max(Duration::from_millis(1)))
}
