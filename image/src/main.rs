//! `luxchat-image`: builds the sealed operating system image of the appliance from a recipe, signs it, compares two
//! builds, lists what is inside, and starts it in a virtual machine.

#![allow(
    clippy::print_stdout,
    reason = "a command-line tool speaks on its standard output"
)]

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

mod apt;
mod artefacts;
mod cache;
mod cli;
mod cpio;
mod deb;
mod disk;
mod elf;
mod files;
mod initrd;
mod lock;
mod make;
mod mirror;
mod modules;
mod patterns;
mod programs;
mod progress;
mod recipe;
mod run;
mod sbom;
mod sign;
mod tools;
mod tree;
mod verify;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            progress::error(&error);
            ExitCode::FAILURE
        }
    }
}
