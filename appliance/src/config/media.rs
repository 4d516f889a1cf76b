use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;

/// How much of the disk is for media, for how long, and what is let through.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// The cache of what users looked at on other servers, in bytes.
    pub cache_bytes: u64,
    /// How many days the cache keeps what nobody looks at; 0: until it is full.
    pub cache_days: u32,
    /// What one user may upload in all, in bytes; 0 is no limit.
    pub user_quota_bytes: u64,
    /// What all users together may upload, in bytes; 0 is no limit.
    pub quota_bytes: u64,
    /// How many days uploads are kept; 0: for ever. Profile pictures stay.
    pub retention_days: u32,
    /// Below this many free bytes on the disk, uploads are refused and nothing more is cached.
    pub free_bytes: u64,
    /// Media from before this time are handed out to clients without a token, as was usual then; absent: none are.
    pub unauthenticated_until: Option<Timestamp>,
    /// Whether an uploaded image gets its usual thumbnails at once; else each is made when it is first asked for.
    pub premade_thumbnails: bool,
    /// What looks for malware in each file before it is first handed out.
    pub scanner: Option<Scanner>,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            cache_bytes: 10 * 1024 * 1024 * 1024,
            cache_days: 30,
            user_quota_bytes: 0,
            quota_bytes: 0,
            retention_days: 0,
            free_bytes: 1024 * 1024 * 1024,
            unauthenticated_until: None,
            premade_thumbnails: false,
            scanner: None,
        }
    }
}

/// A malware scanner: one of `clamd_socket`, `clamd_address` and `icap`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scanner {
    /// The Unix socket of ClamAV's `clamd`.
    pub clamd_socket: Option<PathBuf>,
    /// Host and port of ClamAV's `clamd`.
    pub clamd_address: Option<String>,
    /// An ICAP service: `icap://host:port/service`.
    pub icap: Option<url::Url>,
    /// What happens to files that it has not seen while it does not answer.
    #[serde(default)]
    pub when_down: WhenDown,
    /// How many seconds one scan may take.
    #[serde(default = "default_seconds")]
    pub seconds: u16,
}

impl Media {
    pub(super) fn check(&self) -> Result<(), String> {
        self.scanner.as_ref().map_or(Ok(()), Scanner::check)
    }
}

impl Scanner {
    fn check(&self) -> Result<(), String> {
        let named = [
            self.clamd_socket.is_some(),
            self.clamd_address.is_some(),
            self.icap.is_some(),
        ];
        if named.into_iter().filter(|is_named| *is_named).count() != 1 {
            let one = "media.scanner needs one of clamd_socket, clamd_address and icap";
            return Err(one.to_owned());
        }
        let is_icap = |url: &url::Url| url.scheme() == "icap" && url.has_host();
        if !self.icap.as_ref().is_none_or(is_icap) {
            return Err("media.scanner.icap must be like icap://host:port/service".to_owned());
        }
        Ok(())
    }
}

/// What happens to files while the scanner does not answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum WhenDown {
    /// They are not handed out until it does.
    #[default]
    Refuse,
    /// They are handed out.
    Deliver,
}

fn default_seconds() -> u16 {
    60
}
