//! `authority`: its beginning and its keys.

use anyhow::Result;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use luxchat_bundle::Fingerprint;
use luxchat_provision::{Authority, KeyCost, KeyName, KeyRole, Plan, Quorum, Settings};

use super::Options;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the keys, the certificate authority and the root of trust, in a new folder.
    Init(Init),
    /// Show the keys in use and until when everything is good.
    Show,
    /// Put a new key in place of one that is lost, stolen, or whose holder leaves.
    RotateKey {
        /// The key to replace, such as root-2.
        key: KeyName,
    },
    /// Sign the root of trust anew with a later date of expiry.
    RenewRoot,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The name in the authority's certificate.
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// How many people hold a root key: they say who holds the others.
    #[arg(long, value_name = "N", default_value_t = 3)]
    keys: u8,
    /// How many of them must sign.
    #[arg(long, value_name = "N", default_value_t = 2)]
    threshold: u8,
    /// How many people hold a targets key: they say who is a member.
    #[arg(long, value_name = "N", default_value_t = 1)]
    targets_keys: u8,
    /// How many of them must sign.
    #[arg(long, value_name = "N", default_value_t = 1)]
    targets_threshold: u8,
    /// For trying things out: passphrases protect the keys next to nothing, and take no time.
    #[arg(long)]
    demonstration: bool,
}

pub(crate) fn run(command: Command, options: &Options, now: Timestamp) -> Result<String> {
    match command {
        Command::Init(arguments) => init(&arguments, options, now),
        Command::Show => Ok(describe(&options.open()?)?),
        Command::RotateKey { key } => {
            let mut authority = options.open()?;
            let successor = authority.rotate_key(key, &options.holders(), now)?;
            Ok(format!(
                "{successor} is in place of {key}. Boxes learn of it with the next publication; \
                 then destroy {key}."
            ))
        }
        Command::RenewRoot => {
            let mut authority = options.open()?;
            authority.renew_root(&options.holders(), now)?;
            Ok(format!(
                "The root of trust is good until {:.0}. Boxes learn of it with the next \
                 publication.",
                authority.root_expires()
            ))
        }
    }
}

fn init(arguments: &Init, options: &Options, now: Timestamp) -> Result<String> {
    let plan = Plan {
        settings: Settings::new(&arguments.name),
        root: Quorum {
            keys: arguments.keys,
            threshold: arguments.threshold,
        },
        targets: Quorum {
            keys: arguments.targets_keys,
            threshold: arguments.targets_threshold,
        },
        cost: if arguments.demonstration {
            KeyCost::NEGLIGIBLE
        } else {
            KeyCost::STANDARD
        },
    };
    let authority = Authority::init(&options.authority, &plan, &options.holders(), now)?;
    Ok(format!(
        "The authority is in {folder}.\n{}\n\
         Now move each file in {folder}/keys to its holder's stick, with a copy in a safe, and \
         keep the rest of the folder backed up.",
        describe(&authority)?,
        folder = options.authority.display()
    ))
}

fn describe(authority: &Authority) -> Result<String> {
    let mut lines = Vec::new();
    for role in KeyRole::ALL {
        let (names, threshold) = authority.quorum(role);
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "{:<13} {threshold} of {} must sign: {}",
            role.as_str(),
            names.len(),
            names.join(", ")
        ));
    }
    lines.push(format!("publications  {}", authority.last_publication()));
    lines.push(format!("members       {}", authority.members().len()));
    lines.push(format!(
        "root of trust version {}, good until {:.0}",
        authority.root_version(),
        authority.root_expires()
    ));
    let certificate = authority.certificate();
    lines.push(format!(
        "certificates  signed until {:.0}",
        certificate.not_after()?
    ));
    lines.push("fingerprint of the root of trust:".to_owned());
    let root = Fingerprint::of(&authority.trusted_root()?);
    lines.push(format!("    {}", root.read_aloud()));
    Ok(lines.join("\n"))
}
