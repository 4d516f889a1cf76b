use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use reqwest::Method;
use serde::de::DeserializeOwned;

use crate::operator::Operator;

/// Which lines of a log that the box keeps, the newest first.
#[derive(Debug, Args)]
pub(super) struct Newest {
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

impl Newest {
    /// The lines of the log at `path`.
    pub(super) fn fetch<T: DeserializeOwned>(self, path: &str) -> Result<Vec<T>> {
        let operator = Operator::new(self.socket)?;
        let path = match self.before {
            Some(before) => format!("{path}?before={before}"),
            None => path.to_owned(),
        };
        super::block_on(async move { operator.call(Method::GET, &path, None::<&()>).await })
    }
}
