use serde::Deserialize;

/// How much one client may ask for. A limit of 0 is none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a second of one user, on average. Twenty times as many may come in a burst.
    pub requests_per_user: u32,
    /// Log-in and registration attempts a minute from one address.
    pub logins_per_address: u32,
    /// Requests in work at the same time, of all clients together, syncs aside; a quarter of them for one address.
    pub concurrent_requests: usize,
    /// The largest upload, in bytes.
    pub upload_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_user: 50,
            logins_per_address: 60,
            concurrent_requests: 4_096,
            upload_bytes: 100 * 1024 * 1024,
        }
    }
}
