use std::time::Duration;

use ipnet::IpNet;

/// What may be fetched, and how much of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Networks that pages may lie in beside the public Internet.
    pub allowed_networks: Vec<IpNet>,
    /// Ports that pages may lie on; none named: any.
    pub ports: Vec<u16>,
    /// How long a preview may take, its picture included.
    pub timeout: Duration,
    /// How many bytes of a page are read.
    pub page_bytes: usize,
    /// The largest picture, in bytes.
    pub picture_bytes: usize,
    /// How long a preview is kept.
    pub lifetime: Duration,
    /// How long it is remembered that a page could not be had.
    pub failure_lifetime: Duration,
    /// How many previews are kept.
    pub kept: u32,
    /// How many pages are fetched at a time.
    pub parallel: usize,
    /// How many pages one user may have fetched in a minute.
    pub per_user_and_minute: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allowed_networks: Vec::new(),
            ports: vec![80, 443],
            timeout: Duration::from_secs(15),
            page_bytes: 1024 * 1024,
            picture_bytes: 8 * 1024 * 1024,
            lifetime: Duration::from_hours(24),
            failure_lifetime: Duration::from_mins(5),
            kept: 10_000,
            parallel: 8,
            per_user_and_minute: 30,
        }
    }
}
