use anyhow::Result;
use clap::Args;
use luxchat_admin_api::ReportLine;

use super::newest::Newest;
use crate::{say, timestamp};

/// Show what users reported, the newest first: `number time reporter reported: reason`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    newest: Newest,
}

/// # Errors
///
/// What the box says, or that it does not answer.
pub fn run(arguments: Arguments) -> Result<()> {
    let lines: Vec<ReportLine> = arguments.newest.fetch("/reports")?;
    for line in lines {
        let at = timestamp(line.ts)?;
        // A reason may hold anything: on a terminal, it must not do anything.
        say!(
            "{} {at} {} {}: {:?}",
            line.number,
            line.reporter,
            line.reported.join(" "),
            line.reason
        );
    }
    Ok(())
}
