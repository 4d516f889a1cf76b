//! A firmware that trusts the signing key starts what it signed, and nothing else.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    bench::Bench,
    machine::{Machine, Start},
};

const PATIENCE: Duration = Duration::from_mins(15);

/// Long enough for an image that is not refused to show itself.
const REFUSAL: Duration = Duration::from_mins(2);

/// What an image that starts shows first.
const STARTED: &str = "Welcome to";

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let firmware = bench.fresh("secure-boot.firmware")?;
    let signed = bench.copy(&bench.signed()?.join("disk.raw"), "secure-boot")?;
    let unsigned = bench.copy(&bench.build()?.join("disk.raw"), "secure-boot.unsigned")?;
    let start = |name: &str, disk| {
        let how = Start {
            disk: Some(disk),
            secure_boot: Some(&firmware),
            // Under Secure Boot nothing from outside reaches the command line.
            cmdline: "luxchat.outside=1",
        };
        Machine::start(bench, name, &how)
    };

    // The firmware has no keys yet: the boot loader enrols those of the image, and starts over.
    start("secure-boot.enrol", &signed)?.wait_off(PATIENCE)?;

    let mut machine = start("secure-boot.unsigned", &unsigned)?;
    let refused = machine.wait(&[STARTED, "Access Denied", "Security Violation"], REFUSAL);
    ensure!(
        !matches!(refused, Ok(0)) && !machine.console()?.contains(STARTED),
        "an unsigned image started"
    );
    drop(machine);

    let mut machine = start("secure-boot.signed", &signed)?;
    machine.wait(&[STARTED], PATIENCE)?;
    ensure!(
        !machine.console()?.contains("luxchat.outside"),
        "the command line was changed from outside"
    );
    Ok(())
}
