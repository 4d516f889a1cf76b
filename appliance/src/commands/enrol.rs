use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use clap::Args;
use luxchat_bundle::{Enrolment, Voucher, VoucherRequest, files};
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
    /// A voucher that `luxchat-provision voucher` wrote: the answer is asked of the national directory, over the network.
    #[arg(long, value_name = "FILE", conflicts_with = "answer")]
    voucher: Option<PathBuf>,
    /// The answer that `luxchat-provision enrol` wrote.
    #[arg(value_name = "ANSWER", required_unless_present = "voucher")]
    answer: Option<PathBuf>,
}

/// # Errors
///
/// Why the answer is not for this box. Nothing is changed then.
pub fn run(arguments: Arguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    let data = DataDir::open(&config.data_dir)?;
    let answer = answer(&arguments, &config, &data)?;
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

fn answer(arguments: &Arguments, config: &Config, data: &DataDir) -> Result<Enrolment> {
    if let Some(path) = &arguments.voucher {
        let voucher = files::read(path, VoucherRequest::MAX_BYTES)?;
        let voucher = Voucher::from_json(&voucher).with_context(|| path.display().to_string())?;
        let clock = Arc::new(SystemClock);
        return super::block_on(enrolment::redeem(config, data, voucher, clock));
    }
    let path = arguments.answer.as_ref().context("no answer given")?;
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Enrolment::from_json(&bytes).with_context(|| path.display().to_string())
}
