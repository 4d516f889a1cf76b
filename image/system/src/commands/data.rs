use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::MsFlags;

use crate::{
    host::Host,
    paths::Paths,
    people::People,
    programs::Machine,
    terminals::Terminals,
    volume::{self, Prepared},
};

/// Exists where the system runs from a USB disk, to be installed elsewhere.
pub(crate) const INSTALLER: &str = "/run/luxchat/installer";

/// Opens the data volume and mounts it at `/var`; makes it first where there is none.
///
/// # Errors
///
/// When it can be neither opened nor made.
pub fn run() -> Result<()> {
    let paths = Paths::default();
    let host = Host::new(&paths, &Machine)?;
    let mut terminals = Terminals::of_the_machine(&paths)?;
    let prepared = volume::prepare(host, &mut terminals);
    if let Err(error) = &prepared {
        terminals.tell(&format!("The data volume cannot be had: {error:#}"));
    }
    match prepared? {
        Prepared::Open => {}
        Prepared::Made => terminals.tell(
            "The data volume is made. Its recovery key is shown once, in the menu of the console: write it down before the \
             box goes into use.",
        ),
        Prepared::Installer => in_memory()?,
    }
    Ok(())
}

fn in_memory() -> Result<()> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    nix::mount::mount(
        Some("tmpfs"),
        "/var",
        Some("tmpfs"),
        flags,
        Some("size=64m,mode=0755"),
    )
    .context("/var cannot be mounted in memory")?;
    luxchat_bundle::files::create_folder(Path::new("/run/luxchat"))?;
    let marker = Path::new(INSTALLER);
    Ok(luxchat_bundle::files::replace(
        marker,
        b"",
        luxchat_bundle::files::Access::Public,
    )?)
}
