use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use luxchat_bundle::Enrolment;
use luxchat_store::{Clock, SystemClock};

use crate::{config::Config, data_dir::DataDir, enrolment, say};

/// Take in the national authority's answer to the box's request.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The site file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The repository that `luxchat-provision publish` wrote, where it came on the same stick: then the box knows its
    /// peers without having to reach the directory first.
    #[arg(long, value_name = "DIR")]
    repository: Option<PathBuf>,
    /// The answer that `luxchat-provision enrol` wrote.
    #[arg(value_name = "ANSWER")]
    answer: PathBuf,
}

/// # Errors
///
/// Why the answer is not for this box. Nothing is changed then.
pub fn run(arguments: Arguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    let data = DataDir::open(&config.data_dir)?;
    let bytes =
        std::fs::read(&arguments.answer).with_context(|| arguments.answer.display().to_string())?;
    let answer =
        Enrolment::from_json(&bytes).with_context(|| arguments.answer.display().to_string())?;
    let now = crate::timestamp(SystemClock.now_ms())?;
    let renewal = enrolment::installed(&data)?.is_some();
    // A renewal may bear a root of trust that only the newest publication links to the one at hand.
    if let Some(folder) = arguments.repository.as_deref().filter(|_| renewal) {
        super::block_on(enrolment::import(&data, folder, now))?;
    }
    enrolment::install(&config, &data, &answer, now)?;
    if let Some(folder) = arguments.repository.as_deref().filter(|_| !renewal) {
        super::block_on(enrolment::import(&data, folder, now))?;
    }
    say!(
        "{} is enrolled; its certificate is good until {}",
        config.server_name,
        answer.certificate.leaf().not_after
    );
    say!(
        "the authority's root of trust: {}",
        answer.root_fingerprint().read_aloud()
    );
    say!("restart the box where it is running");
    Ok(())
}
