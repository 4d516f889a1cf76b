use std::path::PathBuf;

use serde::Deserialize;

/// The TURN server through which calls get past firewalls. Without this section clients are told of none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Its addresses, as `turn:` and `turns:` URIs.
    pub uris: Vec<String>,
    /// A file with the secret that it shares with the box (coturn: `static-auth-secret`).
    pub shared_secret_file: PathBuf,
    /// How long a password can be used that the box gives out.
    #[serde(default = "a_day")]
    pub lifetime_seconds: u64,
}

impl Turn {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.uris.is_empty() {
            return Err("turn.uris is empty".to_owned());
        }
        for uri in &self.uris {
            if !uri.starts_with("turn:") && !uri.starts_with("turns:") {
                return Err(format!("turn.uris must be turn: or turns: URIs, not {uri}"));
            }
        }
        if self.lifetime_seconds == 0 {
            return Err("turn.lifetime_seconds is 0".to_owned());
        }
        Ok(())
    }
}

fn a_day() -> u64 {
    86_400
}
