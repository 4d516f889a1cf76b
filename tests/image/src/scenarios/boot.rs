//! The image starts, and nothing that has to run fails.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    bench::Bench,
    machine::{Machine, Start},
};

/// Emulated processors on a busy machine are slow.
const PATIENCE: Duration = Duration::from_mins(15);

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let disk = bench.copy(&bench.build()?.join("disk.raw"), "boot")?;
    let how = Start {
        disk: Some(&disk),
        cmdline: "systemd.journald.forward_to_console=1",
        ..Start::default()
    };
    let mut machine = Machine::start(bench, "boot", &how)?;
    let found = machine.wait(
        &["Reached target Multi-User System", "Restarting system"],
        PATIENCE,
    )?;
    let console = machine.console()?;
    ensure!(found == 0, "the box restarted instead of starting");
    for unit in [
        "Finished Packet filter: closed but for the ports of the box",
        "Finished Open the data volume, or make it",
    ] {
        ensure!(console.contains(unit), "{unit:?} is not on the console");
    }
    let failures: Vec<&str> = (console.lines())
        .filter(|line| line.contains("FAILED") || line.contains("DEPEND"))
        .collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
