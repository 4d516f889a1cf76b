use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    config::{Config, SAMPLE},
    say, settings,
    site::{self, Site},
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
    /// Read the files that the site file names as well. `WITHIN=INSTEAD`: those that will lie in one folder are still in
    /// another.
    #[arg(long, value_name = "WITHIN=INSTEAD")]
    files: Option<String>,
    /// Print what the site file asks of the machine, for programs.
    #[arg(long)]
    json: bool,
}

/// # Errors
///
/// What is wrong with the file, or with a file that it names, and where.
pub fn run(arguments: Arguments) -> Result<()> {
    if arguments.sample {
        say!("{}", SAMPLE.trim_end());
        return Ok(());
    }
    let file = arguments.file.context("no file given")?;
    let config = Config::load(&file)?;
    if let Some(folders) = &arguments.files {
        let (within, instead) = folders
            .split_once('=')
            .context("--files takes two folders: WITHIN=INSTEAD")?;
        site::check_files(&config, Path::new(within), Path::new(instead))?;
    } else {
        settings::application_services(&config)?;
    }
    if arguments.json {
        say!("{}", serde_json::to_string_pretty(&Site::new(&config))?);
    } else {
        say!(
            "{}: right, for server {}",
            file.display(),
            config.server_name
        );
    }
    Ok(())
}
