use std::{path::PathBuf, time::Duration};

use crate::ScannerConfig;

/// Where media lie, and how much of them.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the contents; made where it is missing.
    pub folder: PathBuf,
    /// The largest upload, and the largest medium taken from another server, in bytes.
    pub max_bytes: u64,
    /// The largest original that is served in place of a thumbnail, in bytes.
    pub max_thumbnail_bytes: u64,
    /// What the cache of other servers' media and of thumbnails may hold, in bytes.
    pub cache_bytes: u64,
    /// How long the cache keeps what nobody looks at; `None`: until it is full.
    pub cache_time: Option<Duration>,
    /// What one user may upload in all, in bytes; `None`: as much as they like.
    pub user_quota_bytes: Option<u64>,
    /// What all users together may upload, in bytes; `None`: as much as the disk takes.
    pub quota_bytes: Option<u64>,
    /// How long uploads are kept; `None`: for ever.
    pub retention: Option<Duration>,
    /// What uploads and the cache leave free of the disk, in bytes.
    pub free_bytes: u64,
    /// Media that were uploaded or fetched before this time (milliseconds since the Unix epoch) are handed out to clients
    /// without a token; `None`: none are.
    pub unauthenticated_until: Option<u64>,
    /// Whether a server that does not know the authenticated endpoint is asked by the one that was before it.
    pub fetch_unauthenticated: bool,
    /// How long an id may wait for its content.
    pub pending_time: Duration,
    /// How many ids of one user may wait for their content.
    pub max_pending: u32,
    /// How long the next bytes of an upload or a fetch may take.
    pub stall_time: Duration,
    /// How long an upload or a fetch may take.
    pub transfer_time: Duration,
    /// How many media are fetched from other servers at a time.
    pub parallel_fetches: usize,
    /// What looks at each content before it is first handed out.
    pub scanner: Option<ScannerConfig>,
    /// What decodes images; `None`: nothing does, and small ones stand for their own thumbnails.
    pub thumbnailer: Option<luxchat_thumbnailer::Config>,
    /// Whether an uploaded image gets the spec's thumbnails before anybody asks.
    pub premade_thumbnails: bool,
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
            cache_time: Some(Duration::from_hours(30 * 24)),
            user_quota_bytes: None,
            quota_bytes: None,
            retention: None,
            free_bytes: 1024 * MIB,
            unauthenticated_until: None,
            fetch_unauthenticated: false,
            pending_time: Duration::from_hours(24),
            max_pending: 50,
            stall_time: Duration::from_secs(30),
            transfer_time: Duration::from_mins(30),
            parallel_fetches: 32,
            scanner: None,
            thumbnailer: None,
            premade_thumbnails: false,
        }
    }
}
