//! The command line of what runs on the box beside the server.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use luxchat_system::commands::{
    console, data, first_boot, health, install, network, reset, stick, update,
};

/// Everything on the box beside the server.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open the data volume and mount it at /var; make it first where there is none.
    Data,
    /// Set the network up as the site file in force says.
    Network,
    /// Wait until the box has a site file and an answer of the authority, by as many sticks as that takes.
    FirstBoot,
    /// Take from the stick what it brings to a box that is enrolled.
    Stick,
    /// Show the state of the box on a terminal, and take the few actions of a technician.
    Console(console::Arguments),
    /// Destroy the keys of the data volume, and start the machine anew.
    Reset,
    /// Install a newer release into the other slot, and restart into it.
    Update(update::Arguments),
    /// Judge a release at its first start, and let the server serve or the box fall back.
    Health(health::Arguments),
    /// Copy the running system to another disk.
    Install(install::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Data => data::run(),
        Command::Network => network::run(),
        Command::FirstBoot => first_boot::run(),
        Command::Stick => stick::run(),
        Command::Console(arguments) => console::run(&arguments),
        Command::Reset => reset::run(),
        Command::Update(arguments) => update::run(arguments),
        Command::Health(arguments) => health::run(arguments),
        Command::Install(arguments) => install::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            luxchat_system::say::error(&error);
            ExitCode::FAILURE
        }
    }
}
