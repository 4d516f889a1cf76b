//! The program on the box. `luxchat-appliance` composes the services into a running server; this library is what its
//! command line, its demonstration and the tests drive.

pub mod commands;
pub mod compose;
pub mod config;
pub mod data_dir;
pub mod demo;
mod enrolled;
pub mod enrolment;
pub mod lifecycle;
pub mod listeners;
pub mod logging;
pub mod memory;
pub mod nation;
pub mod operator;
pub mod releases;
pub mod sandbox;
pub mod say;
mod services;
mod settings;
pub mod site;
mod status;

use anyhow::{Context, Result};
use jiff::Timestamp;

/// Milliseconds since the Unix epoch, as a point in time.
fn timestamp(ms: u64) -> Result<Timestamp> {
    let ms = i64::try_from(ms).context("the clock is out of range")?;
    Timestamp::from_millisecond(ms).context("the clock is out of range")
}
