use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    config::{Config, SAMPLE},
    say, settings,
};

/// Say whether a site file is right.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The site file.
    #[arg(value_name = "FILE", required_unless_present = "sample")]
    file: Option<PathBuf>,
    /// Print the commented sample instead.
    #[arg(long)]
    sample: bool,
}

/// # Errors
///
/// What is wrong with the file, or with a registration that it names, and where.
pub fn run(arguments: Arguments) -> Result<()> {
    if arguments.sample {
        say!("{}", SAMPLE.trim_end());
        return Ok(());
    }
    let file = arguments.file.context("no file given")?;
    let config = Config::load(&file)?;
    settings::application_services(&config)?;
    say!(
        "{}: right, for server {}",
        file.display(),
        config.server_name
    );
    Ok(())
}
