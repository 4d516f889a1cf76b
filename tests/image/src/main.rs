//! `luxchat-image-tests`: builds images, starts them in a virtual machine, and holds them to what they promise. Takes
//! root and minutes, so it is a command of its own.

#![allow(
    clippy::print_stdout,
    reason = "a test runner speaks on its standard output"
)]

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Result;
use clap::Parser;

use crate::bench::Bench;

mod bench;
mod disk;
mod machine;
mod scenarios;

/// Holds the operating system image to its promises.
#[derive(Debug, Parser)]
struct Arguments {
    /// Builds, consoles and the state of machines are kept here
    #[arg(long)]
    work: PathBuf,
    /// The cache of the builder
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Take the programs from this folder instead of compiling them
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Take this builder instead of compiling it
    #[arg(long)]
    builder: Option<PathBuf>,
    /// The scenarios to run; without any, all
    scenarios: Vec<String>,
}

type Scenario = fn(&Bench) -> Result<()>;

const SCENARIOS: [(&str, Scenario); 5] = [
    ("reproducible", scenarios::reproducible::run),
    ("boot", scenarios::boot::run),
    ("no-root", scenarios::no_root::run),
    ("secure-boot", scenarios::secure_boot::run),
    ("tamper", scenarios::tamper::run),
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    for name in &arguments.scenarios {
        anyhow::ensure!(
            SCENARIOS.iter().any(|(known, _)| known == name),
            "{name} is no scenario"
        );
    }
    let bench = Bench::prepare(
        arguments.work,
        arguments.cache,
        arguments.programs,
        arguments.builder,
    )?;
    let (mut passed, mut failed) = (0, 0);
    for (name, scenario) in SCENARIOS {
        if !arguments.scenarios.is_empty() && !arguments.scenarios.iter().any(|word| word == name) {
            continue;
        }
        let start = Instant::now();
        let result = scenario(&bench);
        let seconds = start.elapsed().as_secs();
        match result {
            Ok(()) => {
                passed += 1;
                println!("{name} ... ok ({seconds} s)");
            }
            Err(error) => {
                failed += 1;
                println!("{name} ... FAILED ({seconds} s): {error:#}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
