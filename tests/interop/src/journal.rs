//! What the SDK logs.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::LevelFilter,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

/// Answers that are part of the protocol and that the SDK logs like failures: 404 to "is there already a backup, some
/// account data?", and 401 with the stages of user-interactive authentication.
const ORDINARY_ANSWERS: [&str; 2] = ["kind: NotFound", "Server(AuthResponse("];

/// Collects the errors that matrix-sdk logs, and prints what `RUST_LOG` selects.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    errors: Arc<Mutex<Vec<String>>>,
}

impl Journal {
    /// Starts to listen. Once in a process.
    pub fn start() -> Self {
        let journal = Self::default();
        let printed = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_filter(
                EnvFilter::builder()
                    .with_default_directive(LevelFilter::OFF.into())
                    .from_env_lossy(),
            );
        tracing_subscriber::registry()
            .with(printed)
            .with(journal.clone())
            .init();
        journal
    }

    /// The errors logged so far.
    pub fn errors(&self) -> Vec<String> {
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() != Level::ERROR || !metadata.target().starts_with("matrix_sdk") {
            return;
        }
        let mut text = Text(format!("{}:", metadata.target()));
        event.record(&mut text);
        if ORDINARY_ANSWERS
            .iter()
            .any(|answer| text.0.contains(answer))
        {
            return;
        }
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text.0);
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").expect("writing to a String cannot fail");
    }
}
