//! Logs go to standard error, where the journal or a terminal picks them up.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

/// What is logged where neither the site file nor `LUXCHAT_LOG` says otherwise.
pub const DEFAULT_FILTER: &str = "info,tough=warn,ruma_state_res=warn,hyper=warn";

/// Starts logging. `LUXCHAT_LOG` (in the syntax of `tracing` filters) goes before `filter`.
///
/// # Errors
///
/// When a filter does not parse.
pub fn start(filter: &str) -> anyhow::Result<()> {
    let filter = std::env::var("LUXCHAT_LOG").unwrap_or_else(|_| filter.to_owned());
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| anyhow::anyhow!("log filter {filter:?} does not parse: {error}"))?;
    // The journal stamps every line itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let lines = lines
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let started = if journal {
        lines.without_time().try_init()
    } else {
        lines.try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging could not start: {error}"))
}
