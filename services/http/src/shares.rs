//! Who may have how much of something at a time.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts what each holder has, so that none can take everything. Clones share the count; a holder without anything takes
/// no memory.
#[derive(Debug)]
pub struct Shares<K> {
    held: Arc<Mutex<HashMap<K, usize>>>,
    each: usize,
}

/// One of a holder's share, until it is dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    holder: K,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// At most `each` for each holder; zero counts as one.
    pub fn new(each: usize) -> Self {
        Self {
            held: Arc::default(),
            each: each.max(1),
        }
    }

    /// One more for `holder`; `None` where it has its share already.
    pub fn take(&self, holder: K) -> Option<Share<K>> {
        let mut held = lock(&self.held);
        let count = held.entry(holder.clone()).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Share {
            holder,
            held: Arc::clone(&self.held),
        })
    }
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self {
            held: Arc::clone(&self.held),
            each: self.each,
        }
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

fn lock<K>(held: &Mutex<HashMap<K, usize>>) -> MutexGuard<'_, HashMap<K, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What counts as one client by its address: an IPv6 host has a whole /64 to choose from.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            segments[4..].fill(0);
            IpAddr::V6(segments.into())
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_share_and_leaves_nothing_behind() {
        let shares = Shares::new(2);
        let first = shares.take("a").unwrap();
        let _second = shares.take("a").unwrap();
        assert!(shares.take("a").is_none());
        let other = shares.take("b").unwrap();
        drop(first);
        assert!(shares.take("a").is_some());
        drop(other);
        assert_eq!(lock(&shares.held).len(), 1);
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let network = |address: &str| network_of(address.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
