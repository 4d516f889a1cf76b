use std::time::Duration;

/// Limits on what the server keeps and how long it asks others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// One-time keys of one device that can wait to be claimed.
    pub one_time_keys_per_device: u32,
    /// Users that one key query or claim may name.
    pub users_per_query: usize,
    /// Room keys in one version of a backup.
    pub sessions_per_backup: u32,
    /// Messages that wait for one device; the oldest go first.
    pub to_device_inbox: u32,
    /// Messages that wait for one server; the oldest go first.
    pub to_device_outbox: u32,
    /// How long to ask other servers for keys, where the client does not say.
    pub remote_timeout: Duration,
    /// The longest that a client may have other servers asked.
    pub max_remote_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            one_time_keys_per_device: 1_000,
            users_per_query: 10_000,
            sessions_per_backup: 200_000,
            to_device_inbox: 10_000,
            to_device_outbox: 100_000,
            remote_timeout: Duration::from_secs(10),
            max_remote_timeout: Duration::from_secs(30),
        }
    }
}
