//! `luxchat-provision`: the technician's and the officer's tool. Works without a network.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use commands::{Arguments, run};
use jiff::Timestamp;
use terminal::printable;

mod commands;
mod terminal;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A closed pipe must not turn what was done into a failure.
    match run(arguments, Timestamp::now()).await {
        Ok(text) => {
            let _ = writeln!(std::io::stdout(), "{}", printable(&text));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let text = printable(&format!("error: {error:#}"));
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}
