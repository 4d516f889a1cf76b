//! The stick: a partition with a FAT file system labelled `LUXCHAT`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use luxchat_bundle::files::{self, Access};
use nix::mount::{MntFlags, MsFlags};

use crate::{host::Host, say::printable, visit::Report};

/// What udev calls the partition.
const DEVICE: &str = "/dev/disk/by-label/LUXCHAT";
/// The log on the stick begins anew when it is longer than this.
const MAX_LOG: usize = 256 * 1024;

/// The stick, if one is in.
pub fn device(host: Host<'_>) -> Option<PathBuf> {
    Some(host.paths.at(DEVICE)).filter(|path| path.exists())
}

/// Does something with the stick while it is mounted, and lets it go: it may be pulled out at any other moment.
pub fn with_mounted<T>(
    host: Host<'_>,
    device: &Path,
    work: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    // Where a folder stands for the stick, there is nothing to mount.
    if device.is_dir() {
        return work(device);
    }
    let folder = host.paths.stick();
    files::create_folder(&folder)?;
    let flags = MsFlags::MS_NODEV
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NOEXEC
        | MsFlags::MS_NOATIME
        | MsFlags::MS_SYNCHRONOUS;
    let options = "umask=0077,errors=remount-ro,utf8,quiet";
    nix::mount::mount(Some(device), &folder, Some("vfat"), flags, Some(options))
        .context("the stick cannot be read: it needs a FAT file system")?;
    let done = work(&folder);
    nix::mount::umount2(&folder, MntFlags::empty()).context("the stick cannot be let go")?;
    done
}

/// Leaves the request and the log on the stick.
pub fn leave(folder: &Path, report: &Report, now: Timestamp) -> Result<()> {
    if let Some((server_name, request)) = &report.request {
        let requests = folder.join("request");
        files::create_folder(&requests)?;
        files::replace(
            &requests.join(format!("{server_name}.json")),
            request,
            Access::Public,
        )?;
    }
    let logs = folder.join("log");
    files::create_folder(&logs)?;
    let path = logs.join("luxchat.log");
    let before = match files::read(&path, MAX_LOG) {
        Ok(before) => String::from_utf8_lossy(&before).into_owned(),
        // None yet, or too long a one.
        Err(_) => String::new(),
    };
    let lines = report.lines.iter().map(|line| {
        let line = printable(line).replace('\n', " ");
        format!("{now:.0} {line}\r\n")
    });
    let text: String = std::iter::once(before).chain(lines).collect();
    files::replace(&path, text.as_bytes(), Access::Public)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visit::Outcome;

    #[test]
    fn the_log_grows_and_the_request_is_replaced() {
        let stick = tempfile::tempdir().unwrap();
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let mut report = Report {
            lines: vec!["refused: a \u{1b}[2J\nline".to_owned()],
            request: Some(("interior.lu".parse().unwrap(), b"one".to_vec())),
            outcome: Outcome::Refused,
        };
        leave(stick.path(), &report, now).unwrap();
        report.lines = vec!["second".to_owned()];
        report.request = Some(("interior.lu".parse().unwrap(), b"two".to_vec()));
        leave(stick.path(), &report, now).unwrap();
        let log = std::fs::read_to_string(stick.path().join("log/luxchat.log")).unwrap();
        let lines: Vec<_> = log.lines().collect();
        assert_eq!(lines.len(), 2, "{log}");
        assert_eq!(lines[0], "2026-03-01T12:00:00Z refused: a \u{fffd}[2J line");
        assert_eq!(lines[1], "2026-03-01T12:00:00Z second");
        let request = std::fs::read(stick.path().join("request/interior.lu.json")).unwrap();
        assert_eq!(request, b"two");
    }
}
