//! `enrol` and `renew`: from a signing request to an enrolment.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;
use luxchat_bundle::{
    Enrolment, Fingerprint, SigningRequest,
    files::{self, Access},
};
use luxchat_provision::{Authority, EnrolOptions, Error, Passphrases, describe};

use super::{Options, read_request};
use crate::terminal::confirm;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The signing request of the box.
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// Where the enrolment for the box goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The fingerprint that the technician read from the box. Spaces do not matter. Without it,
    /// the fingerprint is shown and must be confirmed.
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// Accept no other key for this member, even if the authority certifies one.
    #[arg(long)]
    pin_key: bool,
}

/// Either of the two ways to answer a request.
type Answer = fn(
    &mut Authority,
    &SigningRequest,
    EnrolOptions,
    &dyn Passphrases,
    Timestamp,
) -> Result<Enrolment, Error>;

pub(crate) fn enrol(arguments: &Arguments, options: &Options, now: Timestamp) -> Result<String> {
    answer(arguments, options, now, Authority::enrol)
}

pub(crate) fn renew(arguments: &Arguments, options: &Options, now: Timestamp) -> Result<String> {
    answer(arguments, options, now, Authority::renew)
}

fn answer(
    arguments: &Arguments,
    options: &Options,
    now: Timestamp,
    answer: Answer,
) -> Result<String> {
    let mut authority = options.open()?;
    let request = read_request(&arguments.request)?;
    if arguments.out.exists() {
        bail!(
            "{} exists already and is not overwritten",
            arguments.out.display()
        );
    }
    check_fingerprint(arguments, &request)?;
    let choices = EnrolOptions {
        pin_key: arguments.pin_key,
    };
    let enrolment = answer(&mut authority, &request, choices, &options.holders(), now)?;
    files::create(&arguments.out, &enrolment.to_json(), Access::Public)
        .context("the certificate was issued, but not handed over; `renew` issues another")?;
    let leaf = enrolment.certificate.leaf();
    Ok(format!(
        "{} has certificate {}, valid until {:.0}.\n\
         Its enrolment is in {}. The fingerprint of the root of trust in it:\n    {}\n\
         Others learn of the member with the next publication.",
        enrolment.server_name,
        leaf.serial,
        leaf.not_after,
        arguments.out.display(),
        enrolment.root_fingerprint().read_aloud(),
    ))
}

fn check_fingerprint(arguments: &Arguments, request: &SigningRequest) -> Result<()> {
    let Some(text) = &arguments.fingerprint else {
        let shown = describe(request);
        return confirm(&format!(
            "{shown}\n\nIs it the same, and shall it be signed?"
        ));
    };
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let expected: Fingerprint = compact.parse()?;
    let found = request.fingerprint();
    if found != expected {
        return Err(Error::OtherRequest {
            found: found.read_aloud(),
            expected: expected.read_aloud(),
        }
        .into());
    }
    Ok(())
}
