//! The box that these programs work on.

use std::{
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::{
    paths::Paths,
    programs::{APPLIANCE_USER, Programs},
};

/// The box that these programs work on: its places, its programs, its clock, and the server's group.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// Where things are.
    pub paths: &'a Paths,
    /// Who runs programs.
    pub programs: &'a dyn Programs,
    /// The group that the server runs as; `None` where it runs as whoever runs this.
    pub group: Option<u32>,
    /// How the clock is set.
    pub set_clock: fn(Timestamp) -> Result<()>,
    /// How the opened data volume is mounted.
    pub mount: fn(&Path, &Path) -> Result<()>,
}

impl std::fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("paths", self.paths)
            .finish_non_exhaustive()
    }
}

impl<'a> Host<'a> {
    /// This machine.
    pub fn new(paths: &'a Paths, programs: &'a dyn Programs) -> Result<Self> {
        let group = nix::unistd::Group::from_name(APPLIANCE_USER)?;
        let group = group.with_context(|| format!("there is no group {APPLIANCE_USER}"))?;
        Ok(Self {
            paths,
            programs,
            group: Some(group.gid.as_raw()),
            set_clock,
            mount,
        })
    }

    /// The time by the machine's clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Sets the machine's clock.
    pub fn set_clock(&self, to: Timestamp) -> Result<()> {
        (self.set_clock)(to)
    }

    /// Mounts the opened data volume at its place.
    pub fn mount_data(&self, device: &Path) -> Result<()> {
        (self.mount)(device, &self.paths.at("/var"))
    }

    /// Lets the server read a file or enter a folder, and nobody else but root.
    pub fn let_appliance_read(&self, path: &Path) -> Result<()> {
        let mode = if path.is_dir() { 0o750 } else { 0o640 };
        chown(path, None, self.group)
            .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
            .with_context(|| format!("cannot change who may read {}", path.display()))
    }
}

fn mount(device: &Path, at: &Path) -> Result<()> {
    use nix::mount::MsFlags;
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    nix::mount::mount(Some(device), at, Some("ext4"), flags, None::<&str>)
        .with_context(|| format!("{} cannot be mounted", device.display()))
}

fn set_clock(to: Timestamp) -> Result<()> {
    let seconds = nix::sys::time::TimeSpec::new(to.as_second(), 0);
    nix::time::clock_settime(nix::time::ClockId::CLOCK_REALTIME, seconds)
        .context("the clock cannot be set")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A box in a folder, with programs that only say what was asked of them.
    pub(crate) fn host<'a>(paths: &'a Paths, programs: &'a dyn Programs) -> Host<'a> {
        Host {
            paths,
            programs,
            group: None,
            set_clock: |_| Ok(()),
            mount: |_, at| Ok(std::fs::create_dir_all(at)?),
        }
    }
}
