//! `luxchat-provision`: the technician's and the officer's tool. Works without a network.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use commands::{Arguments, run};
use jiff::Timestamp;

mod commands;
mod terminal;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (text, code) = match run(arguments, Timestamp::now()).await {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    // A closed pipe must not turn what was done into a failure.
    let _ = writeln!(std::io::stdout(), "{text}");
    code
}
