//! Looking at members, and keeping them out or letting them in.

use std::fmt::Write;

use anyhow::Result;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use luxchat_bundle::{Member, Role, Serial, Status};

use super::Options;

const NEXT: &str = "Boxes learn of it with the next publication.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One line for each member.
    List,
    /// All that the member list says of one.
    Show {
        /// The server name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Change {
    /// The server name.
    name: String,
    /// Why: peers and the log are told.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeCertificate {
    /// The server name.
    name: String,
    /// The serial number of the certificate, in hexadecimal.
    serial: Serial,
}

pub(crate) fn run(command: &Command, options: &Options) -> Result<String> {
    let authority = options.open()?;
    match command {
        Command::List => {
            let lines: Vec<_> = authority.members().iter().map(line).collect();
            if lines.is_empty() {
                return Ok("There are no members.".to_owned());
            }
            Ok(lines.join("\n"))
        }
        Command::Show { name } => Ok(describe(authority.member(name)?)?),
    }
}

pub(crate) fn suspend(change: &Change, options: &Options, now: Timestamp) -> Result<String> {
    options.open()?.suspend(&change.name, &change.reason, now)?;
    Ok(format!("{} is suspended. {NEXT}", change.name))
}

pub(crate) fn revoke(change: &Change, options: &Options, now: Timestamp) -> Result<String> {
    options.open()?.revoke(&change.name, &change.reason, now)?;
    Ok(format!("{} is revoked. {NEXT}", change.name))
}

pub(crate) fn reinstate(change: &Change, options: &Options, now: Timestamp) -> Result<String> {
    let mut authority = options.open()?;
    authority.reinstate(&change.name, &change.reason, now)?;
    Ok(format!("{} is active again. {NEXT}", change.name))
}

pub(crate) fn revoke_certificate(
    arguments: &RevokeCertificate,
    options: &Options,
    now: Timestamp,
) -> Result<String> {
    let RevokeCertificate { name, serial } = arguments;
    options.open()?.revoke_certificate(name, serial, now)?;
    Ok(format!(
        "Certificate {serial} of {name} counts no longer. {NEXT}"
    ))
}

fn line(member: &Member) -> String {
    format!(
        "{:<30} {:<10} {:<10} {}",
        member.server_name,
        state(&member.status),
        role(member.role),
        member.display_name
    )
}

fn describe(member: &Member) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "server name   {}", member.server_name)?;
    writeln!(out, "display name  {}", member.display_name)?;
    writeln!(out, "role          {}", role(member.role))?;
    for endpoint in &member.endpoints {
        writeln!(out, "endpoint      {endpoint}")?;
    }
    for (id, key) in &member.signing_keys {
        writeln!(out, "signing key   {id} {key}")?;
    }
    for (id, old) in &member.old_signing_keys {
        writeln!(
            out,
            "old key       {id} {} until {:.0}",
            old.key, old.expired_at
        )?;
    }
    for pin in &member.tls.pinned_keys {
        writeln!(out, "pinned key    {pin}")?;
    }
    for serial in &member.tls.revoked_serials {
        writeln!(out, "revoked       certificate {serial}")?;
    }
    write!(out, "status        {}", state(&member.status))?;
    if let Status::Suspended { reason, since } | Status::Revoked { reason, since } = &member.status
    {
        write!(out, " since {since:.0}: {reason}")?;
    }
    Ok(out)
}

fn state(status: &Status) -> &'static str {
    match status {
        Status::Active {} => "active",
        Status::Suspended { .. } => "suspended",
        Status::Revoked { .. } => "revoked",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Ministry => "ministry",
        Role::Directory => "directory",
    }
}
