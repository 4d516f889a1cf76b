use std::{path::PathBuf, time::Duration};

/// Where media lie, and how much of them.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the contents; made where it is missing.
    pub folder: PathBuf,
    /// The largest upload, and the largest medium taken from another server, in bytes.
    pub max_bytes: u64,
    /// The largest original that is served in place of a thumbnail, in bytes.
    pub max_thumbnail_bytes: u64,
    /// What the cache of other servers' media may hold, in bytes.
    pub cache_bytes: u64,
    /// What one user may upload in all, in bytes; `None`: as much as they like.
    pub user_quota_bytes: Option<u64>,
    /// What uploads and the cache leave free of the disk, in bytes.
    pub free_bytes: u64,
    /// How long the next bytes of an upload or a fetch may take.
    pub stall_time: Duration,
    /// How long an upload or a fetch may take.
    pub transfer_time: Duration,
    /// How many media are fetched from other servers at a time.
    pub parallel_fetches: usize,
}

impl Config {
    /// The defaults of a small box, in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            folder: folder.into(),
            max_bytes: 100 * MIB,
            max_thumbnail_bytes: 10 * MIB,
            cache_bytes: 10 * 1024 * MIB,
            user_quota_bytes: None,
            free_bytes: 1024 * MIB,
            stall_time: Duration::from_secs(30),
            transfer_time: Duration::from_mins(30),
            parallel_fetches: 32,
        }
    }
}
