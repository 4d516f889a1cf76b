use std::time::Duration;

use luxchat_http::Limits;

/// How the server-server API is served.
#[derive(Clone, Debug)]
pub struct Config {
    /// What a request body may be at most: a full transaction has 50 PDUs of up to 64 KiB and 100 EDUs.
    pub limits: Limits,
    /// How many requests are served at a time; more are told to come back.
    pub max_concurrent_requests: usize,
    /// How many rooms of one transaction are worked on at a time.
    pub parallel_rooms: usize,
    /// How long the answers to transactions are kept, for peers that repeat them.
    pub remember_transactions: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits {
                body_bytes: 16 * 1024 * 1024,
                body_time: Duration::from_mins(1),
                nesting: 100,
            },
            max_concurrent_requests: 512,
            parallel_rooms: 8,
            remember_transactions: Duration::from_hours(7 * 24),
        }
    }
}
