use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use luxchat_admin_api::ReportLine;
use reqwest::Method;

use crate::{operator::Operator, say, timestamp};

/// Show what users reported, the newest first: `number time reporter reported: reason`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The box's operator socket: `admin.sock` in its data_dir.
    #[arg(
        long,
        default_value = "/var/lib/luxchat/admin.sock",
        value_name = "PATH"
    )]
    socket: PathBuf,
    /// Only what came before this number.
    #[arg(long)]
    before: Option<i64>,
}

/// # Errors
///
/// What the box says, or that it does not answer.
pub fn run(arguments: Arguments) -> Result<()> {
    let operator = Operator::new(arguments.socket)?;
    super::block_on(show(operator, arguments.before))
}

async fn show(operator: Operator, before: Option<i64>) -> Result<()> {
    let path = match before {
        Some(before) => format!("/reports?before={before}"),
        None => "/reports".to_owned(),
    };
    let lines: Vec<ReportLine> = operator.call(Method::GET, &path, None::<&()>).await?;
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
