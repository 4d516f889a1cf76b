//! The commands and their options.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use luxchat_bundle::{SigningRequest, files};
use luxchat_provision::Authority;

use crate::terminal::Holders;

mod authority;
mod enrol;
mod members;
mod order;
mod publish;
mod release;
mod voucher;

/// The longest signing request in bytes.
const MAX_REQUEST: usize = 64 * 1024;

/// The national authority's tool: keys, members and the signed repository, without a network.
#[derive(Debug, Parser)]
#[command(name = "luxchat-provision", version)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command that works on an authority.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder of the authority.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "LUXCHAT_AUTHORITY",
        default_value = "authority"
    )]
    authority: PathBuf,
    /// Another folder in which key files lie, such as a holder's stick. May be repeated.
    #[arg(long = "key-folder", global = true, value_name = "DIR")]
    key_folders: Vec<PathBuf>,
    /// A file whose first line is the passphrase, instead of asking. LUXCHAT_PASSPHRASE, or
    /// LUXCHAT_PASSPHRASE_ROOT_1 for one key, does the same.
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Options {
    fn open(&self) -> Result<Authority> {
        Ok(Authority::open(&self.authority)?.with_key_folders(self.key_folders.clone()))
    }

    fn holders(&self) -> Holders {
        Holders::new(self.passphrase_file.clone())
    }
}

/// The signing request of a box, from a file.
fn read_request(path: &Path) -> Result<SigningRequest> {
    SigningRequest::from_json(&files::read(path, MAX_REQUEST)?)
        .with_context(|| path.display().to_string())
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an authority, look at it, or change its keys.
    #[command(subcommand)]
    Authority(authority::Command),
    /// Make the box that wrote a signing request a member, and write its enrolment.
    Enrol(enrol::Arguments),
    /// Give a member a new certificate, and take over new keys and endpoints.
    Renew(enrol::Arguments),
    /// Keep a member out for now.
    Suspend(members::Change),
    /// Keep a member out for good.
    Revoke(members::Change),
    /// Let a suspended or revoked member in again.
    Reinstate(members::Change),
    /// Make one certificate of a member count no longer.
    RevokeCertificate(members::RevokeCertificate),
    /// Let servers in beforehand: their boxes make their keys and are enrolled through the directory.
    Voucher(voucher::Make),
    /// Withdraw a voucher, and every certificate that came of it.
    RevokeVoucher(voucher::Revoke),
    /// Look at the members.
    #[command(subcommand)]
    Members(members::Command),
    /// Order a box to do something, by a stick.
    #[command(subcommand)]
    Order(order::Command),
    /// Versions of the box's operating system in the repository.
    #[command(subcommand)]
    Release(release::Command),
    /// Sign the member list and write the repository for the boxes.
    Publish(publish::Publish),
    /// Check a repository as a box would.
    Verify(publish::Verify),
}

/// Does what was asked for and returns what there is to say.
pub(crate) async fn run(arguments: Arguments, now: Timestamp) -> Result<String> {
    let options = arguments.options;
    match arguments.command {
        Command::Authority(command) => authority::run(command, &options, now),
        Command::Enrol(arguments) => enrol::enrol(&arguments, &options, now),
        Command::Renew(arguments) => enrol::renew(&arguments, &options, now),
        Command::Suspend(change) => members::suspend(&change, &options, now),
        Command::Revoke(change) => members::revoke(&change, &options, now),
        Command::Reinstate(change) => members::reinstate(&change, &options, now),
        Command::RevokeCertificate(it) => members::revoke_certificate(&it, &options, now),
        Command::Voucher(it) => voucher::make(&it, &options, now),
        Command::RevokeVoucher(it) => voucher::revoke(&it, &options, now),
        Command::Members(command) => members::run(&command, &options),
        Command::Order(command) => order::run(&command, &options, now),
        Command::Release(command) => release::run(&command, &options, now),
        Command::Publish(arguments) => publish::publish(&arguments, &options, now).await,
        Command::Verify(arguments) => publish::verify(&arguments, &options, now).await,
    }
}
