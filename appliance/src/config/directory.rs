use std::path::PathBuf;

use serde::Deserialize;

/// The national role: this box serves the signed repository of the authority to all others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// The folder that `luxchat-provision publish` writes, or that a technician copies it to. Looked at every few
    /// seconds; only what verifies and is newer is served.
    pub publication: PathBuf,
    /// Whether boxes that bring a voucher of the authority are enrolled by this box.
    #[serde(default = "yes")]
    pub vouchers: bool,
}

fn yes() -> bool {
    true
}
