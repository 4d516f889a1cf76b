//! The command line of what runs on the box beside the server.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything on the box beside the server.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {}

fn main() -> ExitCode {
    let outcome: anyhow::Result<()> = match Arguments::parse().command {};
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            luxchat_system::say::error(&error);
            ExitCode::FAILURE
        }
    }
}
