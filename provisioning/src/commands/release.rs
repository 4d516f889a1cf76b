//! `release`: versions of the box's operating system in the repository.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use jiff::Timestamp;
use luxchat_bundle::{Release, ReleaseVersion};

use super::Options;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take up the three files of a version, as the image's builder wrote them.
    Add {
        /// The root file system, its hashes and the kernel image:
        /// luxchat_VERSION_UUID.root, luxchat_VERSION_UUID.verity, luxchat_VERSION.efi.
        #[arg(required = true, num_args = 3, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Publish a version no longer.
    Remove {
        /// Which.
        version: ReleaseVersion,
    },
    /// One line for each version.
    List,
}

pub(crate) fn run(command: &Command, options: &Options, now: Timestamp) -> Result<String> {
    let mut authority = options.open()?;
    match command {
        Command::Add { files } => {
            let release = authority.add_release(files, now)?;
            Ok(format!(
                "Release {} goes into the next publication:\n{}",
                release.version,
                describe(&release)
            ))
        }
        Command::Remove { version } => {
            authority.remove_release(version, now)?;
            Ok(format!(
                "Release {version} is not in the next publication. Boxes that run it keep it."
            ))
        }
        Command::List => {
            let releases = authority.releases()?;
            if releases.is_empty() {
                return Ok("There are no releases.".to_owned());
            }
            let lines: Vec<_> = releases.iter().map(describe).collect();
            Ok(lines.join("\n"))
        }
    }
}

fn describe(release: &Release) -> String {
    let lines: Vec<_> = release
        .files
        .iter()
        .map(|file| format!("{:>12} bytes  {}  {}", file.length, file.digest, file.name))
        .collect();
    lines.join("\n")
}
