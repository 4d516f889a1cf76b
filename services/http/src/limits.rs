use std::time::Duration;

/// What a request body may be at most. Put on a router with `.layer(axum::Extension(limits))`; the innermost one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body.
    pub body_bytes: usize,
    /// How long the body may take to arrive.
    pub body_time: Duration,
    /// Arrays and objects within each other.
    pub nesting: usize,
}

impl Default for Limits {
    /// 1 MiB in 30 seconds, 100 levels deep: ample for any client's request, keys of large backups aside.
    fn default() -> Self {
        Self {
            body_bytes: 1024 * 1024,
            body_time: Duration::from_secs(30),
            nesting: 100,
        }
    }
}
