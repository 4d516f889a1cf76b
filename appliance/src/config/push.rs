use std::{net::IpAddr, path::PathBuf};

use luxchat_push::Gateway;
use serde::Deserialize;

/// Telling phones that there is something new, by way of push gateways.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Push {
    /// The gateways that the box may speak to, by scheme, host and port. Without any, nothing is pushed.
    pub gateways: Vec<String>,
    /// Private addresses that their names may stand for.
    pub private_addresses: Vec<IpAddr>,
    /// Whether gateways are told who wrote what in which room where an app asks for that. Otherwise: that there is an event,
    /// by its id.
    pub full_events: bool,
    /// Certificate authorities, in PEM, that vouch for them.
    pub authorities: PathBuf,
}

impl Default for Push {
    fn default() -> Self {
        Self {
            gateways: Vec::new(),
            private_addresses: Vec::new(),
            full_events: false,
            authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
        }
    }
}

impl Push {
    pub(super) fn check(&self) -> Result<(), String> {
        self.gateways().map(drop)
    }

    /// The gateways, parsed.
    ///
    /// # Errors
    ///
    /// Names the one that is none.
    pub fn gateways(&self) -> Result<Vec<Gateway>, String> {
        let parse = |gateway: &String| {
            gateway
                .parse()
                .map_err(|why: String| format!("push.gateways: {why}"))
        };
        self.gateways.iter().map(parse).collect()
    }
}
