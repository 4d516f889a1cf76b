use serde::Deserialize;

/// How much of the disk is for media.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// The cache of what users looked at on other servers, in bytes.
    pub cache_bytes: u64,
    /// What one user may upload in all, in bytes; 0 is no limit.
    pub user_quota_bytes: u64,
    /// Below this many free bytes on the disk, uploads are refused and nothing more is cached.
    pub free_bytes: u64,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            cache_bytes: 10 * 1024 * 1024 * 1024,
            user_quota_bytes: 0,
            free_bytes: 1024 * 1024 * 1024,
        }
    }
}
