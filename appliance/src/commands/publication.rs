use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use luxchat_store::{Clock, SystemClock};

use crate::{config::Config, data_dir::DataDir, enrolment, say};

/// Take over a publication of the authority that came on a stick.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The site file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The repository that `luxchat-provision publish` wrote.
    #[arg(value_name = "DIR")]
    repository: PathBuf,
}

/// # Errors
///
/// Why it was refused. The last good one stays in force.
pub fn run(arguments: Arguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    let data = DataDir::open(&config.data_dir)?;
    if enrolment::installed(&data)?.is_none() {
        bail!("the box is not enrolled: it has no root of trust to check a publication by");
    }
    let now = crate::timestamp(SystemClock.now_ms())?;
    super::block_on(enrolment::import(&data, &arguments.repository, now))?;
    say!("the publication is in force; restart the box where it is running");
    Ok(())
}
