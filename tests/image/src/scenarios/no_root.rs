//! A box that does not find its root file system says so and starts anew: it does not stand there until somebody comes.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    bench::Bench,
    machine::{Machine, Start},
};

const PATIENCE: Duration = Duration::from_mins(10);

/// What `units/emergency.service` says.
const MESSAGE: &str = "a part that it cannot do without has failed";

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let disk = bench.copy(&bench.build()?.join("disk.raw"), "no-root")?;
    let how = Start {
        disk: Some(&disk),
        cmdline: "systemd.verity_root_data=/dev/not-there systemd.default_device_timeout_sec=20",
        ..Start::default()
    };
    let mut machine = Machine::start(bench, "no-root", &how)?;
    machine.wait(&[MESSAGE], PATIENCE)?;
    ensure!(
        machine.console()?.contains("/dev/not-there"),
        "the console does not say what is missing"
    );
    machine.wait_off(PATIENCE)
}
