//! A small map in memory whose entries end by themselves, and of which there are only so many.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

#[derive(Debug)]
pub(crate) struct Expiring<K, V> {
    entries: Mutex<HashMap<K, Entry<V>>>,
    capacity: usize,
    lifetime_ms: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    expires_ms: u64,
}

impl<K: Eq + Hash + Clone, V: Clone> Expiring<K, V> {
    pub(crate) fn new(capacity: usize, lifetime_ms: u64) -> Self {
        Self {
            entries: Mutex::default(),
            capacity,
            lifetime_ms,
        }
    }

    /// Adds or replaces an entry. Where the map is full, what has ended goes, else what would end first.
    pub(crate) fn insert(&self, key: K, value: V, now_ms: u64) {
        let mut entries = self.lock();
        if entries.len() >= self.capacity && !entries.contains_key(&key) {
            entries.retain(|_, entry| entry.expires_ms > now_ms);
            if entries.len() >= self.capacity {
                let first = entries.iter().min_by_key(|(_, entry)| entry.expires_ms);
                if let Some(key) = first.map(|(key, _)| key.clone()) {
                    entries.remove(&key);
                }
            }
        }
        let expires_ms = now_ms.saturating_add(self.lifetime_ms);
        entries.insert(key, Entry { value, expires_ms });
    }

    /// A copy of an entry that has not ended.
    pub(crate) fn get(&self, key: &K, now_ms: u64) -> Option<V> {
        let entries = self.lock();
        let entry = entries.get(key)?;
        (entry.expires_ms > now_ms).then(|| entry.value.clone())
    }

    /// Takes an entry out; `None` where it has ended.
    pub(crate) fn remove(&self, key: &K, now_ms: u64) -> Option<V> {
        let entry = self.lock().remove(key)?;
        (entry.expires_ms > now_ms).then_some(entry.value)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Entry<V>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end() {
        let map = Expiring::new(10, 100);
        map.insert("a", 1, 0);
        assert_eq!(map.get(&"a", 99), Some(1));
        assert_eq!(map.get(&"a", 100), None);
        assert_eq!(map.remove(&"a", 100), None);
    }

    #[test]
    fn a_full_map_loses_its_oldest() {
        let map = Expiring::new(2, 100);
        map.insert("a", 1, 0);
        map.insert("b", 2, 1);
        map.insert("c", 3, 2);
        assert_eq!(map.get(&"a", 3), None);
        assert_eq!((map.get(&"b", 3), map.get(&"c", 3)), (Some(2), Some(3)));
    }
}
