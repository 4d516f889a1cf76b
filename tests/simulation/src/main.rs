//! The command line: many seeds, or one of them again.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report is what the program is for"
)]

use std::{
    env,
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use luxchat_simulation::{Options, run, scratch};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Where a process finds the seed of all its randomness.
const SEED: &str = "LUXCHAT_SIMULATION_SEED";

/// Of what one seed violates, so much is printed.
const REPORTED: usize = 12;

/// How much real time one seed may take.
const LONGEST: Duration = Duration::from_mins(5);

/// Simulates boxes on a network where everything goes wrong, and checks that they agree in the end.
#[derive(Parser)]
struct Cli {
    /// Runs this one seed again.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Prints everything that happens to standard error.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Prints the log of the boxes to standard error: a level, or TARGET=LEVEL with commas between.
    #[arg(long, requires = "seed")]
    log: Option<String>,
    /// Compares everything that could be compared: see the README.
    #[arg(long)]
    strict: bool,
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many to run at a time.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.seed {
        Some(seed) if env::var_os(SEED).is_some() => simulate(seed, &cli),
        // The seed must decide from the first instruction on: a process of its own.
        Some(seed) => {
            let status = child(seed)?.args(env::args_os().skip(1)).status()?;
            Ok(if status.success() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        None => many(&cli),
    }
}

fn simulate(seed: u64, cli: &Cli) -> Result<ExitCode> {
    if let Some(filter) = &cli.log {
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .without_time();
        let filter: Targets = filter.parse()?;
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .init();
    }
    let panicked = Arc::new(AtomicBool::new(false));
    let (flag, report) = (Arc::clone(&panicked), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        flag.store(true, Ordering::Relaxed);
        report(info);
    }));
    let folder = tempfile::Builder::new()
        .prefix(&format!("luxchat-simulation-{}-", std::process::id()))
        .tempdir_in(scratch())?;
    let options = Options {
        folder: folder.path(),
        prints: cli.trace,
        strict: cli.strict,
    };
    // On a thread of its own: what was done so far, for the log, has no part in what looks random there.
    let outcome = std::thread::scope(|scope| {
        let thread = scope.spawn(|| run(seed, options));
        thread
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the simulation panicked"))
    })?;
    let verdict = if outcome.violations.is_empty() && !panicked.load(Ordering::Relaxed) {
        "ok"
    } else {
        "FAILED"
    };
    let (digest, events) = (&outcome.digest, outcome.events);
    println!("seed {seed}: {verdict}, {events} events, trace {digest}");
    for violation in outcome.violations.iter().take(REPORTED) {
        println!("  {violation}");
    }
    if panicked.load(Ordering::Relaxed) {
        println!("  something panicked");
    }
    Ok(if verdict == "ok" {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn many(cli: &Cli) -> Result<ExitCode> {
    let started = Instant::now();
    let mut failed = Vec::new();
    let mut left = cli.from..cli.from.saturating_add(cli.seeds);
    let mut running = Vec::new();
    loop {
        while running.len() < usize::try_from(cli.jobs.max(1))?
            && let Some(seed) = left.next()
        {
            let mut command = child(seed)?;
            command.args(["--seed", &seed.to_string()]);
            if cli.strict {
                command.arg("--strict");
            }
            let process = command.stdout(Stdio::piped()).stderr(Stdio::piped());
            running.push((seed, Instant::now(), process.spawn()?));
        }
        if running.is_empty() {
            break;
        }
        let mut index = 0;
        while index < running.len() {
            let (_, began, process) = &mut running[index];
            if process.try_wait()?.is_none() {
                if began.elapsed() > LONGEST {
                    process.kill()?;
                }
                index += 1;
                continue;
            }
            let (seed, _, process) = running.swap_remove(index);
            let output = process.wait_with_output()?;
            if !output.status.success() {
                failed.push(seed);
                println!("{}", String::from_utf8_lossy(&output.stdout).trim_end());
                eprintln!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
                println!("seed {seed} again: luxchat-simulation --seed {seed} --trace");
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    println!(
        "{} seeds from {}, {} with violations, {:.1} s",
        cli.seeds,
        cli.from,
        failed.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// This program once more, with the randomness of a seed.
fn child(seed: u64) -> Result<Command> {
    let program = env::current_exe().context("the program does not find itself")?;
    let mut command = Command::new(program);
    command.env(SEED, seed.to_string());
    Ok(command)
}
