use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use luxchat_bundle::files;
use luxchat_store::{Clock, SystemClock};

use crate::{config::Config, data_dir::DataDir, enrolment, say};

/// Make the box's keys and write the request that the national authority signs.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The site file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where to write the request, for example on a stick.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// # Errors
///
/// What is wrong with the site file, the keys or the stick.
pub fn run(arguments: Arguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    let data = DataDir::open(&config.data_dir)?;
    let now = crate::timestamp(SystemClock.now_ms())?;
    let request = enrolment::request(&config, &data, now)?;
    files::replace(&arguments.out, &request.to_json(), files::Access::Public)?;
    say!(
        "wrote {} for {}",
        arguments.out.display(),
        config.server_name
    );
    say!(
        "read this to the officer at the authority: {}",
        request.fingerprint().read_aloud()
    );
    Ok(())
}
