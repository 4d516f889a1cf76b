use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail};
use clap::Args;
use luxchat_store::SystemClock;

use crate::{
    commands::thumbnailer,
    compose::{Prepared, Sockets},
    config::Config,
    lifecycle::{asked_to_stop, notify_ready, notify_stopping},
    listeners::Inherited,
    logging,
    releases::Releases,
    sandbox,
};

/// How often a box that waits to serve looks whether it may.
const HOLD_PERIOD: Duration = Duration::from_millis(200);

/// Serve clients and peers until told to stop.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The site file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Be ready, but answer nobody and send nothing before this file is there. For the first start after an update: what
    /// nobody was told yet can be undone.
    #[arg(long, value_name = "FILE")]
    hold_until: Option<PathBuf>,
}

/// # Errors
///
/// Why the box cannot start, or that it could not stop in time.
pub fn run(arguments: Arguments) -> Result<()> {
    let mut inherited = Inherited::from_env()?;
    let mut config = Config::load(&arguments.config)?;
    config.thumbnailer = Some(thumbnailer::program());
    config.release = Releases::running();
    logging::start(&config.log.filter)?;
    sandbox::harden();
    super::block_on(async move {
        let sockets = Sockets::bind(&config, &mut inherited).await?;
        let prepared = Prepared::new(config, Arc::new(SystemClock), sockets).await?;
        if let Some(file) = &arguments.hold_until {
            notify_ready(&format!("ready, waiting for {}", file.display()));
            tokio::select! {
                () = appears(file) => {}
                asked = asked_to_stop() => {
                    asked?;
                    notify_stopping();
                    prepared.stop().await;
                    return Ok(());
                }
            }
        }
        let appliance = prepared.serve().await?;
        notify_ready(&format!("serving {}", appliance.server_name()));
        asked_to_stop().await?;
        notify_stopping();
        if !appliance.stop().await {
            bail!("some work did not end in time and was cut off");
        }
        Ok(())
    })
}

async fn appears(file: &Path) {
    while !tokio::fs::try_exists(file).await.unwrap_or(false) {
        tokio::time::sleep(HOLD_PERIOD).await;
    }
}
