//! The command line of the box.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use luxchat_appliance::commands::{
    audit, check_config, demo, enrol, media, publication, reports, request, serve, status,
    thumbnailer, user,
};

/// A Matrix server for one administration.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients and peers until told to stop.
    Serve(serve::Arguments),
    /// Bring a small nation to life on this machine and send a message across it.
    Demo(demo::Arguments),
    /// Make, list and lock the accounts of a running box.
    User(user::Arguments),
    /// List, delete and withhold the media of a running box.
    Media(media::Arguments),
    /// Show what administrators did on a running box.
    Audit(audit::Arguments),
    /// Show what users of a running box reported.
    Reports(reports::Arguments),
    /// Show the state of a running box.
    Status(status::Arguments),
    /// Say whether a site file is right.
    CheckConfig(check_config::Arguments),
    /// Take in the national authority's answer to that request.
    Enrol(enrol::Arguments),
    /// Take over a publication of the authority that came on a stick.
    Publication(publication::Arguments),
    /// Make the box's keys and write the request that the national authority signs.
    Request(request::Arguments),
    /// Decode one image: what the box starts for each.
    #[command(hide = true, name = thumbnailer::NAME)]
    Thumbnailer,
}

fn main() -> ExitCode {
    luxchat_appliance::memory::tune();
    let outcome = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::User(arguments) => user::run(arguments),
        Command::Media(arguments) => media::run(arguments),
        Command::Audit(arguments) => audit::run(arguments),
        Command::Reports(arguments) => reports::run(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::CheckConfig(arguments) => check_config::run(arguments),
        Command::Publication(arguments) => publication::run(arguments),
        Command::Request(arguments) => request::run(arguments),
        Command::Enrol(arguments) => enrol::run(arguments),
        Command::Thumbnailer => return thumbnailer::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            luxchat_appliance::say::error(&error);
            ExitCode::FAILURE
        }
    }
}
