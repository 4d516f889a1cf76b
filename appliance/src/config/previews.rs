use luxchat_previews::IpNet;
use serde::Deserialize;

/// Previews of the web pages that messages name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Previews {
    /// Whether users may have the box fetch pages.
    pub enabled: bool,
    /// Networks of the site that pages may lie in. Without any, the box fetches from public addresses alone.
    pub allowed_networks: Vec<IpNet>,
    /// Ports that pages may lie on. None: any.
    pub ports: Vec<u16>,
}

impl Default for Previews {
    fn default() -> Self {
        Self {
            enabled: false,
            allowed_networks: Vec::new(),
            ports: vec![80, 443],
        }
    }
}
