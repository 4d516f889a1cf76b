//! One flipped bit in what runs at every start stops the box.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{
    bench::Bench,
    disk::{data_of, flip, partition},
    machine::{Machine, Start},
};

const PATIENCE: Duration = Duration::from_mins(15);

/// The system manager: the first program that is read from the root file system.
const HOT: &str = "/usr/lib/systemd/systemd";

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let build = bench.build()?;
    let disk = bench.copy(&build.join("disk.raw"), "tamper")?;
    let os_release = std::fs::read_to_string(build.join("os-release"))?;
    let version = (os_release.lines())
        .find_map(|line| line.strip_prefix("IMAGE_VERSION="))
        .context("the build tells no version")?;
    let root = partition(&disk, &format!("luxchat_{version}"))?;
    flip(&disk, root + data_of(&build.join("root.erofs"), HOT)?)?;

    let how = Start {
        disk: Some(&disk),
        ..Start::default()
    };
    let mut machine = Machine::start(bench, "tamper", &how)?;
    let texts = [
        "is corrupted",
        "dm-verity device corrupted",
        "Reached target Multi-User",
    ];
    let found = machine.wait(&texts, PATIENCE)?;
    ensure!(found < 2, "the box started with a changed program");
    machine.wait_off(PATIENCE)?;
    ensure!(
        !machine.console()?.contains("Reached target Multi-User"),
        "the box went on after it had found the change"
    );
    Ok(())
}
