//! `voucher` and `revoke-voucher`: members let in beforehand.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;
use luxchat_bundle::{
    Endpoint, Fingerprint, Serial, ServerName,
    files::{self, Access},
};
use luxchat_provision::{NewMember, VoucherPlan};

use super::Options;

/// Where boxes listen for their peers unless they say otherwise.
const PORT: u16 = 8448;

#[derive(Debug, Args)]
pub(crate) struct Make {
    /// The server names that may be enrolled by it.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<ServerName>,
    /// Where the voucher goes: onto the sticks of the boxes, as voucher.json.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the one server will listen for its peers; NAME:8448 without. May be repeated.
    #[arg(long = "endpoint", value_name = "HOST:PORT")]
    endpoints: Vec<Endpoint>,
    /// The administration in words, of the one server; its name without.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// How many certificates may come of it; as many as there are names without.
    #[arg(long, value_name = "N")]
    uses: Option<u32>,
    /// For how many days it is good.
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The voucher's number, as `voucher` printed it.
    id: Serial,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) fn make(arguments: &Make, options: &Options, now: Timestamp) -> Result<String> {
    if arguments.out.exists() {
        bail!(
            "{} exists already and is not overwritten",
            arguments.out.display()
        );
    }
    let plan = plan(arguments)?;
    let voucher = options.open()?.voucher(&plan, &options.holders(), now)?;
    files::create(&arguments.out, &voucher.to_json(), Access::Private).context(
        "the voucher was made, but not handed over; a copy is in the authority's folder",
    )?;
    let details = voucher.details();
    Ok(format!(
        "Voucher {} is in {}: {} certificates, until {:.0}, through {}.\n\
         Publish before it is used. The fingerprint of the root of trust in it:\n    {}\n\
         Lost or stolen: revoke-voucher {0} --reason TEXT",
        details.id,
        arguments.out.display(),
        details.uses,
        details.expires,
        details.directory.server_name,
        Fingerprint::of(details.trusted_root.as_bytes()).read_aloud(),
    ))
}

pub(crate) fn revoke(arguments: &Revoke, options: &Options, now: Timestamp) -> Result<String> {
    options
        .open()?
        .revoke_voucher(&arguments.id, &arguments.reason, now)?;
    Ok(format!(
        "Voucher {} is revoked, with every certificate that came of it. Boxes learn of it with the \
         next publication.",
        arguments.id
    ))
}

fn plan(arguments: &Make) -> Result<VoucherPlan> {
    let several = arguments.names.len() > 1;
    if several && !(arguments.endpoints.is_empty() && arguments.display_name.is_none()) {
        bail!("--endpoint and --display-name are for a voucher with one name");
    }
    let members = arguments
        .names
        .iter()
        .map(|name| {
            let endpoints = if arguments.endpoints.is_empty() {
                vec![format!("{name}:{PORT}").parse()?]
            } else {
                arguments.endpoints.clone()
            };
            let display_name = arguments.display_name.clone();
            Ok(NewMember {
                server_name: name.clone(),
                display_name: display_name.unwrap_or_else(|| name.to_string()),
                endpoints,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let uses = match arguments.uses {
        Some(uses) => uses,
        None => u32::try_from(members.len())?,
    };
    Ok(VoucherPlan {
        members,
        uses,
        days: arguments.days,
    })
}
