//! `order`: what a box shall do when a stick brings it the order.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use luxchat_bundle::{
    Action,
    files::{self, Access},
};
use luxchat_provision::site_action;

use super::{Options, read_request};
use crate::terminal::confirm;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Destroy the data of a box: for a box that was retired, or cannot be reached otherwise.
    Reset {
        #[command(flatten)]
        order: Arguments,
    },
    /// Take another site file.
    Site {
        /// The site file.
        #[arg(long, value_name = "FILE")]
        site: PathBuf,
        /// A folder with the files that it names.
        #[arg(long, value_name = "DIR")]
        files: Option<PathBuf>,
        #[command(flatten)]
        order: Arguments,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The newest request of the box, from its stick or from `certificates`: the order is for the key in it.
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// Where the order goes: `reset.json` or `site-order.json` on the stick.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// For how many days it can be used.
    #[arg(long, default_value_t = 7, value_name = "DAYS")]
    days: u32,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(command: &Command, options: &Options, now: Timestamp) -> Result<String> {
    match command {
        Command::Reset { order } => {
            let question = "All data on the box will be lost.";
            sign(order, Action::Reset {}, question, options, now)
        }
        Command::Site { site, files, order } => {
            let action = site_action(site, files.as_deref())?;
            sign(
                order,
                action,
                "The box will obey the new site file.",
                options,
                now,
            )
        }
    }
}

fn sign(
    arguments: &Arguments,
    action: Action,
    question: &str,
    options: &Options,
    now: Timestamp,
) -> Result<String> {
    let authority = options.open()?;
    let request = read_request(&arguments.request)?;
    let name = &request.details().server_name;
    if !arguments.yes {
        confirm(&format!("An order to {name}. {question}"))?;
    }
    let order = authority.order(&request, action, arguments.days, &options.holders(), now)?;
    files::create(&arguments.out, &order.to_json(), Access::Public)?;
    Ok(format!(
        "The order to {name} is in {} and can be used until {:.0}.",
        arguments.out.display(),
        order.details().expires_at
    ))
}
