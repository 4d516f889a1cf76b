use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use clap::Args;
use luxchat_store::SystemClock;

use crate::{
    commands::thumbnailer,
    demo,
    lifecycle::asked_to_stop,
    logging,
    nation::{Nation, Plan},
    sandbox, say,
};

/// Bring a small nation to life on this machine and send a message across it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the nation lives; it goes on from there when started again.
    #[arg(long, default_value = "demo-nation", value_name = "DIR")]
    data: PathBuf,
    /// Stop after the message has crossed, with an error if a step failed.
    #[arg(long)]
    once: bool,
    /// Let anybody register, and take the registration secret "demo": for trying clients and test programs.
    #[arg(long)]
    open: bool,
}

/// # Errors
///
/// The step that failed.
pub fn run(arguments: Arguments) -> Result<()> {
    logging::start(demo::LOG_FILTER)?;
    sandbox::harden();
    super::block_on(async move {
        let plan = if arguments.open {
            demo::open_plan()
        } else {
            Plan::default()
        };
        let clock = Arc::new(SystemClock);
        let mut nation = Nation::open_or_found(&arguments.data, &plan, &*clock)?;
        nation.set_thumbnailer(&thumbnailer::program());
        let running = demo::start(&nation, clock).await?;
        let outcome = demo::drive(&running).await;
        if outcome.is_ok() && !arguments.once {
            demo::invite_people_in(&running);
            asked_to_stop().await?;
            say!("stopping");
        }
        running.stop().await;
        outcome
    })
}
