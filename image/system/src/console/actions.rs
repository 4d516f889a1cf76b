//! The few things that a technician may do, each confirmed.

use anyhow::{Context, Result};

use super::View;
use crate::{
    disks,
    host::Host,
    network::Settings,
    people::{Echo, People},
    programs::{CommandLine, SYSTEMCTL},
    volume::RecoveryKey,
};

const MAX_KEY: usize = 256;
/// How long copying the system to a disk may take.
const INSTALLATION: std::time::Duration = std::time::Duration::from_hours(1);
/// What stands for the name of a server where there is none yet.
const NO_NAME: &str = "reset";

/// Something that a technician may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Show the recovery key, once.
    RecoveryKey,
    /// Change the box's own addresses.
    Network,
    /// Destroy all data.
    Reset,
    /// Switch the machine off.
    PowerOff,
    /// Copy the system to a disk of the machine.
    Install,
}

impl Action {
    const ALL: [Self; 5] = [
        Self::RecoveryKey,
        Self::Network,
        Self::Reset,
        Self::PowerOff,
        Self::Install,
    ];

    /// What may be done at a box that shows `view`.
    pub fn offered(view: &View) -> impl Iterator<Item = Self> {
        let (is_installer, has_key) = (view.is_installer, view.has_recovery_key);
        let is_set_up = view.server_name.is_some();
        Self::ALL.into_iter().filter(move |action| match action {
            Self::RecoveryKey => has_key,
            Self::Network => is_set_up && !is_installer,
            Self::Reset => !is_installer,
            Self::PowerOff => true,
            Self::Install => is_installer,
        })
    }

    /// What is typed for it.
    pub fn key(self) -> &'static str {
        match self {
            Self::RecoveryKey => "1",
            Self::Network => "2",
            Self::Reset => "3",
            Self::PowerOff => "4",
            Self::Install => "5",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::RecoveryKey => "show the recovery key",
            Self::Network => "network settings",
            Self::Reset => "factory reset",
            Self::PowerOff => "power off",
            Self::Install => "install on a disk of this machine",
        }
    }
}

/// Does what was typed, if it is one of the things that may be done now.
///
/// # Errors
///
/// What went wrong, for the people at the console.
pub fn perform(typed: &str, view: &View, host: Host<'_>, people: &mut dyn People) -> Result<()> {
    let typed = typed.trim();
    if typed.is_empty() {
        return Ok(());
    }
    match Action::offered(view).find(|action| action.key() == typed) {
        Some(Action::RecoveryKey) => recovery_key(host, people),
        Some(Action::Network) => network(host, people),
        Some(Action::Reset) => reset(view, host, people),
        Some(Action::PowerOff) => power_off(host, people),
        Some(Action::Install) => install(host, people),
        None => {
            people.tell("There is no such choice. Type one of the numbers.");
            Ok(())
        }
    }
}

fn recovery_key(host: Host<'_>, people: &mut dyn People) -> Result<()> {
    if !confirm(
        "Whoever sees this screen now can open the data. Type yes to go on: ",
        "yes",
        people,
    )? {
        return Ok(());
    }
    let path = host.paths.recovery_key();
    let bytes = luxchat_bundle::files::read(&path, MAX_KEY)?;
    let text = String::from_utf8_lossy(&bytes);
    let key = RecoveryKey::parse(&text).context("the recovery key is damaged")?;
    people.tell(&format!(
        "The recovery key of this box. Write it down, or take a picture, and keep it in a safe:\n\n{}\n{}",
        key.lines(),
        key.square()?
    ));
    if confirm(
        "Type written when that is done; it is not shown again: ",
        "written",
        people,
    )? {
        std::fs::remove_file(&path)?;
        std::fs::File::open(host.paths.state())?.sync_all()?;
        people.tell("It is shown no more.");
    }
    Ok(())
}

fn network(host: Host<'_>, people: &mut dyn People) -> Result<()> {
    people.tell("Addresses of this box: 1 as the site file says, 2 by DHCP, 3 typed here.");
    let settings = match people.ask_until_answered("Which: ", Echo::On)?.trim() {
        "1" => Settings::Site,
        "2" => Settings::Dhcp,
        "3" => {
            let address = people.ask_until_answered("Address, such as 10.20.1.5/24: ", Echo::On)?;
            let gateway = people.ask_until_answered("Gateway, or nothing: ", Echo::On)?;
            match Settings::fixed(&address, &gateway) {
                Ok(settings) => settings,
                Err(why) => {
                    people.tell(&format!("{why}. Nothing was changed."));
                    return Ok(());
                }
            }
        }
        _ => {
            people.tell("Nothing was changed.");
            return Ok(());
        }
    };
    if confirm(
        "Type yes to change the addresses of this box: ",
        "yes",
        people,
    )? {
        settings.save(&host.paths.network_override())?;
        systemctl(&["restart", "luxchat-network.service"], host)?;
        people.tell("The network is set up anew.");
    }
    Ok(())
}

fn reset(view: &View, host: Host<'_>, people: &mut dyn People) -> Result<()> {
    let name = view.server_name.as_deref().unwrap_or(NO_NAME);
    people.tell("A factory reset destroys all messages, files, accounts and keys of this box. Nothing brings them back.");
    if confirm(&format!("Type {name} to destroy them: "), name, people)? {
        systemctl(&["--no-block", "start", "luxchat-reset.service"], host)?;
        people.tell("The keys of the data are destroyed, and the machine starts anew.");
    }
    Ok(())
}

fn power_off(host: Host<'_>, people: &mut dyn People) -> Result<()> {
    if confirm("Type yes to power off: ", "yes", people)? {
        systemctl(&["--no-block", "poweroff"], host)?;
        people.tell("The machine goes off.");
    }
    Ok(())
}

fn install(host: Host<'_>, people: &mut dyn People) -> Result<()> {
    let root = host.paths.at("/");
    let disks = disks::all(&root)?;
    let system = disks::of_the_system(&root, &disks);
    let others: Vec<_> = disks
        .iter()
        .filter(|disk| Some(*disk) != system.as_ref())
        .collect();
    if others.is_empty() {
        people.tell("There is no other disk in this machine.");
        return Ok(());
    }
    for disk in &others {
        people.tell(&format!(
            "{}: {} GB, {}",
            disk.name,
            disk.bytes / 1_000_000_000,
            disk.model
        ));
    }
    let name = people.ask_until_answered("On which disk: ", Echo::On)?;
    let Some(disk) = others.iter().find(|disk| disk.name == name.trim()) else {
        people.tell("There is no such disk. Nothing was changed.");
        return Ok(());
    };
    let question = format!(
        "Everything on {} is lost. Type {} again to go on: ",
        disk.name, disk.name
    );
    if confirm(&question, &disk.name, people)? {
        people.tell("Copying the system. This takes some minutes.");
        let unit = format!("luxchat-install@{}.service", disk.name);
        let line = CommandLine::new(SYSTEMCTL)
            .args(["start", &unit])
            .within(INSTALLATION);
        host.programs
            .run(&line)
            .context("the system could not be installed")?;
        people.tell("Installed. Power off, take the USB disk out, and start the machine.");
    }
    Ok(())
}

fn confirm(question: &str, word: &str, people: &mut dyn People) -> Result<bool> {
    let confirmed = people.ask_until_answered(question, Echo::On)?.trim() == word;
    if !confirmed {
        people.tell("Not confirmed: nothing was done.");
    }
    Ok(confirmed)
}

fn systemctl(arguments: &[&str], host: Host<'_>) -> Result<()> {
    host.programs
        .run(&CommandLine::new(SYSTEMCTL).args(arguments))
        .map(drop)
}

#[cfg(test)]
#[path = "actions_tests.rs"]
mod tests;
