//! The screen as text.

use std::fmt::Write;

use super::actions::Action;
use crate::{progress::Progress, say::printable};

/// Every terminal has as many columns.
const WIDTH: usize = 78;
/// Where values begin.
const COLUMN: usize = 15;

/// What the console shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The version of the system.
    pub version: String,
    /// The slot that it was started from.
    pub slot: String,
    /// The Matrix server name, once the box has a site file.
    pub server_name: Option<String>,
    /// Addresses with their network cards.
    pub addresses: Vec<String>,
    /// What the server says of itself; why it says nothing otherwise.
    pub membership: Option<Membership>,
    /// Whether the system counts as good.
    pub health: Health,
    /// What is known of updates, in words.
    pub update: Option<String>,
    /// What happened last.
    pub progress: Progress,
    /// Whether the recovery key is still to be written down.
    pub has_recovery_key: bool,
    /// Whether the system runs from a USB disk, to be installed.
    pub is_installer: bool,
}

/// What the server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Until when its certificate is good, if it has one.
    pub certificate: Option<String>,
    /// The list of members, in words.
    pub list: String,
    /// Other servers, in words.
    pub peers: String,
}

/// Whether the system counts as good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It was found good.
    Good,
    /// It is not known yet.
    #[default]
    Unknown,
}

/// The screen, without the line that is typed on.
pub fn render(view: &View) -> String {
    let mut text = String::new();
    let name = match (&view.server_name, view.is_installer) {
        (_, true) => "INSTALLATION",
        (Some(name), _) => name,
        (None, _) => "not set up yet",
    };
    let title = format!("Luxchat {}", view.version);
    let gap = WIDTH.saturating_sub(title.chars().count() + name.chars().count());
    let _ = writeln!(text, "\n{title}{}{name}", " ".repeat(gap.max(1)));
    let _ = writeln!(text, "{}", "-".repeat(WIDTH));
    for (label, value) in fields(view) {
        field(&mut text, label, &printable(&value).replace('\n', " "));
    }
    text.push('\n');
    for action in Action::offered(view) {
        let _ = writeln!(text, "  {}  {}", action.key(), action.label());
    }
    text.push('\n');
    text
}

fn fields(view: &View) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    if view.is_installer {
        let words = "This system runs from a USB disk and keeps nothing. Install it on this machine's own disk.";
        fields.push(("", words.to_owned()));
    } else {
        fields.extend(server(view));
    }
    let health = match view.health {
        Health::Good => "good",
        Health::Unknown => "not known yet",
    };
    fields.push((
        "System",
        format!("version {}, {}; health: {health}", view.version, view.slot),
    ));
    fields.extend(view.update.clone().map(|words| ("Updates", words)));
    if view.has_recovery_key {
        fields.push((
            "RECOVERY KEY",
            "not written down yet: without it a broken machine takes its data along".to_owned(),
        ));
    }
    if let Some(at) = view.progress.at {
        fields.push(("", String::new()));
        fields.push(("Last", format!("{at:.0}")));
        fields.extend(view.progress.lines.iter().map(|line| ("", line.clone())));
    }
    fields
}

fn server(view: &View) -> Vec<(&'static str, String)> {
    let addresses = match view.addresses.as_slice() {
        [] => "none".to_owned(),
        addresses => addresses.join(", "),
    };
    let mut fields = vec![("Addresses", addresses)];
    match &view.membership {
        Some(membership) => {
            let certificate = membership.certificate.as_ref();
            let certificate = certificate
                .map_or("none: the box is not enrolled".to_owned(), |it| {
                    format!("until {it}")
                });
            fields.push(("Server", "running".to_owned()));
            fields.push(("Certificate", certificate));
            fields.push(("Members list", membership.list.clone()));
            fields.push(("Peers", membership.peers.clone()));
        }
        None if view.server_name.is_some() => fields.push(("Server", "not running".to_owned())),
        None => fields.push(("Server", "waits for a stick with its site file".to_owned())),
    }
    fields
}

/// A label and its value, broken at spaces where it is too long for the line.
fn field(text: &mut String, label: &str, value: &str) {
    let mut line = format!("{label:COLUMN$}");
    let mut is_first = true;
    for word in value.split(' ') {
        let length = line.chars().count();
        if !is_first && length + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(COLUMN);
            is_first = true;
        }
        if !is_first {
            line.push(' ');
        }
        line.push_str(word);
        is_first = false;
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> View {
        View {
            version: "0.1.0".to_owned(),
            slot: "slot A (sda2)".to_owned(),
            server_name: Some("interior.lu".to_owned()),
            addresses: vec!["10.20.1.5/24 (eno1)".to_owned()],
            membership: Some(Membership {
                certificate: Some("2026-06-01T00:00:00Z".to_owned()),
                list: "in force until 2026-06-01T00:00:00Z, 12 active".to_owned(),
                peers: "4 connected, 0 cannot be reached".to_owned(),
            }),
            health: Health::Good,
            has_recovery_key: true,
            ..View::default()
        }
    }

    #[test]
    fn a_running_box_shows_what_a_technician_asks_for() {
        let text = render(&running());
        let expected = [
            "Luxchat 0.1.0                                                      interior.lu",
            "Addresses      10.20.1.5/24 (eno1)",
            "Server         running",
            "Certificate    until 2026-06-01T00:00:00Z",
            "Members list   in force until 2026-06-01T00:00:00Z, 12 active",
            "Peers          4 connected, 0 cannot be reached",
            "System         version 0.1.0, slot A (sda2); health: good",
            "  1  show the recovery key",
            "  3  factory reset",
            "  4  power off",
        ];
        for line in expected {
            assert!(text.lines().any(|it| it == line), "no {line:?} in\n{text}");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        let mut shown = running();
        shown.has_recovery_key = false;
        assert!(!render(&shown).contains("recovery"));
    }

    #[test]
    fn a_new_box_says_what_it_waits_for() {
        let text = render(&View::default());
        assert!(
            text.contains("not set up yet") && text.contains("waits for a stick"),
            "{text}"
        );
        let installer = render(&View {
            is_installer: true,
            ..View::default()
        });
        assert!(installer.contains("install on a disk"), "{installer}");
        assert!(!installer.contains("factory reset"), "{installer}");
    }

    #[test]
    fn what_others_say_does_not_steer_the_terminal_and_stays_on_its_line() {
        let view = View {
            progress: Progress {
                at: Some("2026-03-01T12:00:00Z".parse().unwrap()),
                lines: vec![format!("refused: \u{1b}[2J {}", "word ".repeat(60))],
            },
            ..View::default()
        };
        let text = render(&view);
        assert!(!text.contains('\u{1b}'));
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }
}
