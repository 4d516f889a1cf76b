//! What the command line can do, one file each.

pub mod audit;
pub mod check_config;
pub mod demo;
pub mod enrol;
pub mod media;
mod newest;
pub mod publication;
pub mod reports;
pub mod request;
pub mod serve;
pub mod status;
pub mod thumbnailer;
pub mod user;

use anyhow::{Context, Result};

/// Runs a command's future to its end.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Runtime::new()
        .context("the runtime could not start")?
        .block_on(future)
}
