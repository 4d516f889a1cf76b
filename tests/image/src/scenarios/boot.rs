//! The image starts up to the question for its data, and nothing before that fails.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    bench::Bench,
    machine::{Machine, Start},
};

/// Emulated processors on a busy machine are slow.
const PATIENCE: Duration = Duration::from_mins(15);

/// An unsigned image has no TPM to open its data, so it asks for a passphrase: from here on people are needed.
const VOLUME: &str = "There is no TPM to open the data volume";

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let disk = bench.copy(&bench.build()?.join("disk.raw"), "boot")?;
    let how = Start {
        disk: Some(&disk),
        ..Start::default()
    };
    let mut machine = Machine::start(bench, "boot", &how)?;
    let found = machine.wait(&[VOLUME, "Restarting system"], PATIENCE)?;
    let console = machine.console()?;
    ensure!(found == 0, "the box restarted instead of starting");
    let filter = "Packet filter: closed but for the ports of the box";
    ensure!(console.contains(filter), "{filter:?} is not on the console");
    let failures: Vec<&str> = (console.lines())
        .filter(|line| line.contains("FAILED") || line.contains("DEPEND"))
        .collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
