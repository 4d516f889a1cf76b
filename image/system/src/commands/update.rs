use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;

use crate::{
    host::Host,
    paths::Paths,
    programs::Machine,
    site::Site,
    update::{Origin, Outcome, Updater},
};

/// Install a newer release into the other slot, and restart into it: at once where it was fetched and the site file allows it
/// now, and not here where a stick brought it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A repository on a stick. Without, what was fetched from the directory is looked at.
    #[arg(long, value_name = "DIR")]
    repository: Option<PathBuf>,
}

/// # Errors
///
/// Why a release was refused. What runs goes on.
pub fn run(arguments: Arguments) -> Result<()> {
    let paths = Paths::default();
    let host = Host::new(&paths, &Machine)?;
    let policy = Site::in_force(host)?.updates;
    let updater = Updater::new(host, policy, Timestamp::now());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let origin = arguments
        .repository
        .map_or(Origin::Directory, Origin::Stick);
    if let Outcome::Nothing = runtime.block_on(updater.look(&origin))? {
        crate::say!("there is no newer release");
    }
    Ok(())
}
