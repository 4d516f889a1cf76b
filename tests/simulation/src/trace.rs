//! What happened, in order: two runs of one seed must have the same trace.

use std::{
    fmt::{Display, Write as _},
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// Takes note of what happens. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    started: Instant,
    prints: bool,
    digest: Arc<Mutex<Sha256>>,
}

impl Trace {
    /// A trace that begins now, and is printed to standard error where `prints` says so.
    pub(crate) fn new(prints: bool) -> Self {
        Self {
            started: Instant::now(),
            prints,
            digest: Arc::default(),
        }
    }

    /// Takes note of something.
    pub(crate) fn note(&self, what: impl Display) {
        let millis = self.started.elapsed().as_millis();
        let line = format!("{:>5}.{:03} {what}\n", millis / 1_000, millis % 1_000);
        self.digest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .update(&line);
        if self.prints {
            // Who closed the pipe has seen enough.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    /// The digest of everything so far, in hexadecimal.
    pub(crate) fn digest(&self) -> String {
        let digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        short(digest.clone().finalize())
    }
}

/// The digest of some bytes, short enough for a line.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    short(Sha256::digest(bytes))
}

fn short(digest: impl AsRef<[u8]>) -> String {
    let mut text = String::new();
    for byte in digest.as_ref().iter().take(8) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
