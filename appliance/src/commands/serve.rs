use std::{path::PathBuf, sync::Arc};

use anyhow::{Result, bail};
use clap::Args;
use luxchat_store::SystemClock;

use crate::{
    commands::thumbnailer,
    compose::{Appliance, Sockets},
    config::Config,
    lifecycle::{asked_to_stop, notify_ready, notify_stopping},
    listeners::Inherited,
    logging, sandbox,
};

/// Serve clients and peers until told to stop.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The site file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// # Errors
///
/// Why the box cannot start, or that it could not stop in time.
pub fn run(arguments: Arguments) -> Result<()> {
    let mut inherited = Inherited::from_env()?;
    let mut config = Config::load(&arguments.config)?;
    config.thumbnailer = Some(thumbnailer::program());
    logging::start(&config.log.filter)?;
    sandbox::harden();
    super::block_on(async move {
        let sockets = Sockets::bind(&config, &mut inherited).await?;
        let appliance = Appliance::start(config, Arc::new(SystemClock), sockets).await?;
        notify_ready(&format!("serving {}", appliance.server_name()));
        asked_to_stop().await?;
        notify_stopping();
        if !appliance.stop().await {
            bail!("some work did not end in time and was cut off");
        }
        Ok(())
    })
}
