//! `publish` and `verify`: the signed repository.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use jiff::Timestamp;
use luxchat_bundle::{Bundle, Enrolment, files};

use super::Options;

const MAX_BYTES: usize = 2 * 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The folder of the repository: a new one, or that of an earlier publication.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The folder of the repository.
    repository: PathBuf,
    /// Begin with the root of trust in this enrolment, as its box does. Without it, with the
    /// authority's first.
    #[arg(long, value_name = "FILE")]
    enrolment: Option<PathBuf>,
}

pub(crate) async fn publish(
    arguments: &Publish,
    options: &Options,
    now: Timestamp,
) -> Result<String> {
    let mut authority = options.open()?;
    let publication = authority.publish(&arguments.out, &options.holders(), now)?;
    let bundle = luxchat_provision::verify(&arguments.out, &authority.first_root()?, now)
        .await
        .context("the repository was written, but a box would refuse it")?;
    Ok(format!(
        "Publication {} is in {}: {}.",
        publication.version,
        arguments.out.display(),
        describe(&bundle)
    ))
}

pub(crate) async fn verify(
    arguments: &Verify,
    options: &Options,
    now: Timestamp,
) -> Result<String> {
    let root = match &arguments.enrolment {
        Some(path) => Enrolment::from_json(&files::read(path, MAX_BYTES)?)?
            .trusted_root
            .into_bytes(),
        None => options.open()?.first_root()?,
    };
    let bundle = luxchat_provision::verify(&arguments.repository, &root, now).await?;
    Ok(format!(
        "Publication {} is sound: {}.",
        bundle.version,
        describe(&bundle)
    ))
}

fn describe(bundle: &Bundle) -> String {
    let active = bundle.members.iter().filter(|it| it.status.is_active());
    format!(
        "{} members, {} of them active, good until {:.0}",
        bundle.members.len(),
        active.count(),
        bundle.expires
    )
}
