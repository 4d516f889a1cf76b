use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use luxchat_admin_api::{MediaSummary, Quarantine, QuarantinedFile};
use reqwest::Method;

use crate::{operator::Operator, say};

/// List, delete and withhold the media of a running box.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The box's operator socket: `admin.sock` in its data_dir.
    #[arg(
        long,
        default_value = "/var/lib/luxchat/admin.sock",
        value_name = "PATH"
    )]
    socket: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what a user uploaded.
    List {
        /// `@agent:server`
        user_id: String,
    },
    /// Delete a file: an upload for good, another server's until somebody looks at it again.
    Delete {
        /// `mxc://server/id`
        uri: String,
    },
    /// Withhold a content under every id that it has or gets, and refuse its upload.
    Quarantine {
        /// `mxc://server/id` of a file that lies on this box, or the SHA-256 of any content.
        target: String,
        /// Why, in a few words: for the list and the audit log.
        #[arg(long)]
        reason: String,
    },
    /// Hand a content out again, whatever the scanner says of it.
    Release {
        /// `mxc://server/id` of a file that lies on this box, or the SHA-256 of any content.
        target: String,
    },
    /// List the contents that are withheld.
    Quarantined,
}

/// # Errors
///
/// What the box says, or that it does not answer.
pub fn run(arguments: Arguments) -> Result<()> {
    let operator = Operator::new(arguments.socket)?;
    super::block_on(act(operator, arguments.action))
}

async fn act(operator: Operator, action: Action) -> Result<()> {
    match action {
        Action::List { user_id } => list(&operator, &user_id).await?,
        Action::Delete { uri } => {
            let Some(path) = uri.strip_prefix("mxc://") else {
                bail!("{uri:?} is not like mxc://server/id");
            };
            let path = format!("/media/{path}");
            let () = operator.call(Method::DELETE, &path, None::<&()>).await?;
            say!("{uri} is deleted");
        }
        Action::Quarantine { target, reason } => {
            let body = Quarantine { target, reason };
            let sha256: String = operator
                .call(Method::POST, "/quarantine", Some(&body))
                .await?;
            say!("{sha256} is withheld");
        }
        Action::Release { target } => {
            let reason = String::new();
            let body = Quarantine { target, reason };
            let sha256: String = operator
                .call(Method::DELETE, "/quarantine", Some(&body))
                .await?;
            say!("{sha256} is handed out again");
        }
        Action::Quarantined => quarantined(&operator).await?,
    }
    Ok(())
}

async fn list(operator: &Operator, user_id: &str) -> Result<()> {
    let mut after = String::new();
    loop {
        let path = format!("/users/{user_id}/media?after={after}");
        let page: Vec<MediaSummary> = operator.call(Method::GET, &path, None::<&()>).await?;
        let Some((_, id)) = page.last().and_then(|last| last.uri.rsplit_once('/')) else {
            return Ok(());
        };
        id.clone_into(&mut after);
        for file in &page {
            say!(
                "{} {:>12} {} {}{}",
                file.uri,
                file.size,
                file.content_type.as_deref().unwrap_or("-"),
                file.file_name.as_deref().unwrap_or("-"),
                if file.quarantined { ", WITHHELD" } else { "" }
            );
        }
    }
}

async fn quarantined(operator: &Operator) -> Result<()> {
    let mut after = String::new();
    loop {
        let path = format!("/quarantine?after={after}");
        let page: Vec<QuarantinedFile> = operator.call(Method::GET, &path, None::<&()>).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after.clone_from(&last.sha256);
        for file in &page {
            say!("{} {}", file.sha256, file.reason);
        }
    }
}
