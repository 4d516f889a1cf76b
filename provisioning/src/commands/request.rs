//! `request`: what a box does by itself, for trying things out.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use luxchat_bundle::{
    BoxKeys, Endpoint, RequestDetails, Role, ServerName, SigningRequest,
    files::{self, Access},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder of the box's keys. They are made if it has none.
    #[arg(long = "box", value_name = "DIR")]
    keys: PathBuf,
    /// The Matrix server name.
    #[arg(long, value_name = "NAME")]
    server_name: ServerName,
    /// The administration in words.
    #[arg(long, value_name = "TEXT")]
    display_name: String,
    /// What the box is for.
    #[arg(long, value_enum, default_value_t = AsRole::Ministry)]
    role: AsRole,
    /// Where it will listen for its peers, as host:port. May be repeated, best first.
    #[arg(long = "endpoint", value_name = "HOST:PORT", required = true)]
    endpoints: Vec<Endpoint>,
    /// Where the signing request goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AsRole {
    Ministry,
    Directory,
}

pub(crate) fn run(arguments: Arguments, now: Timestamp) -> Result<String> {
    let keys = if BoxKeys::exist(&arguments.keys) {
        BoxKeys::load(&arguments.keys)?
    } else {
        BoxKeys::generate(&arguments.keys)?
    };
    let details = RequestDetails {
        server_name: arguments.server_name,
        display_name: arguments.display_name,
        role: match arguments.role {
            AsRole::Ministry => Role::Ministry,
            AsRole::Directory => Role::Directory,
        },
        endpoints: arguments.endpoints,
        created_at: now,
    };
    let request = SigningRequest::new(details, &keys)?;
    files::create(&arguments.out, &request.to_json(), Access::Public)?;
    Ok(format!(
        "The signing request is in {}. Its fingerprint:\n    {}",
        arguments.out.display(),
        request.fingerprint().read_aloud()
    ))
}
