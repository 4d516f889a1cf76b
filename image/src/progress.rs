//! What the builder says while it works: one line a stage, with the time since the start.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// The clock of one command.
#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Says what is being done, or what came of it.
    pub(crate) fn say(&self, what: impl Display) {
        println!("{} {what}", stamp(self.start.elapsed()));
    }
}

/// The one place where a failed command says why.
#[allow(clippy::print_stderr, reason = "errors go to the standard error")]
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("luxchat-image: {error:#}");
}

/// A size for people.
pub(crate) fn size(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

fn stamp(elapsed: Duration) -> String {
    format!(
        "[{:4}.{} s]",
        elapsed.as_secs(),
        elapsed.subsec_millis() / 100
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal() {
        assert_eq!(size(0), "0.0 MB");
        assert_eq!(size(52_649_984), "52.6 MB");
    }

    #[test]
    fn stamps_line_up() {
        assert_eq!(stamp(Duration::from_millis(1_250)), "[   1.2 s]");
    }
}
