use anyhow::Result;
use clap::Args;
use luxchat_admin_api::AuditLine;

use super::newest::Newest;
use crate::{say, timestamp};

/// Show what administrators did, the newest first: `number time actor action target`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    newest: Newest,
}

/// # Errors
///
/// What the box says, or that it does not answer.
pub fn run(arguments: Arguments) -> Result<()> {
    let lines: Vec<AuditLine> = arguments.newest.fetch("/audit-log")?;
    for line in lines {
        let at = timestamp(line.ts)?;
        say!(
            "{} {at} {} {} {}",
            line.number,
            line.actor,
            line.action,
            line.target
        );
    }
    Ok(())
}
