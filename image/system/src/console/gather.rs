//! Where the console's view comes from.

use std::fmt::Write;

use nix::ifaddrs::getifaddrs;
use serde::Deserialize;

use super::{Health, Membership, View};
use crate::{
    disks,
    host::Host,
    programs::{APPLIANCE, CommandLine},
    progress::Progress,
};

const MAX_FILE: usize = 1024 * 1024;
/// More addresses than this are not shown.
const MAX_ADDRESSES: usize = 8;
/// Where the server answers for this machine alone, where the site file says nothing else.
const ADMIN: &str = "127.0.0.1:9091";

/// What the box is and how it does, as far as that can be told.
pub fn gather(host: Host<'_>) -> View {
    let site = SiteFile::load(host);
    let root = host.paths.at("/");
    let system = disks::all(&root)
        .ok()
        .and_then(|disks| disks::of_the_system(&root, &disks));
    let membership = site.as_ref().and_then(|site| membership(site, host));
    View {
        version: version(&text(host, "etc/os-release")),
        slot: system.map_or("slot unknown".to_owned(), |disk| {
            slot(&disk, &text(host, "proc/cmdline"))
        }),
        server_name: site.map(|site| site.server_name),
        addresses: addresses(),
        membership,
        health: if host.paths.run().join("boot-is-good").exists() {
            Health::Good
        } else {
            Health::Unknown
        },
        update: update(&text(host, "var/lib/luxchat-system/update/status.json")),
        progress: Progress::load(host),
        has_recovery_key: host.paths.recovery_key().is_file(),
        is_installer: host.paths.run().join("installer").exists(),
    }
}

/// As much of the site file as the console needs before the server runs.
#[derive(Deserialize)]
struct SiteFile {
    server_name: String,
    #[serde(default)]
    admin: Admin,
}

#[derive(Default, Deserialize)]
struct Admin {
    listen: Option<String>,
}

impl SiteFile {
    fn load(host: Host<'_>) -> Option<Self> {
        let bytes = luxchat_bundle::files::read(&host.paths.site(), MAX_FILE).ok()?;
        toml::from_str(&String::from_utf8_lossy(&bytes)).ok()
    }
}

/// As much of the server's status as the console shows.
#[derive(Deserialize)]
struct Status {
    certificate: Option<Certificate>,
    membership: List,
    peers: Peers,
}

#[derive(Deserialize)]
struct Certificate {
    not_after: String,
}

#[derive(Deserialize)]
struct List {
    state: String,
    version: u64,
    expires: Option<String>,
    active: u64,
    last_error: Option<String>,
}

#[derive(Deserialize)]
struct Peers {
    connected: u64,
    failing: u64,
}

fn membership(site: &SiteFile, host: Host<'_>) -> Option<Membership> {
    let admin = site.admin.listen.as_deref().unwrap_or(ADMIN);
    let line = CommandLine::new(APPLIANCE).args(["status", "--json", "--admin", admin]);
    parse_status(&host.programs.run(&line).ok()?)
}

fn parse_status(text: &str) -> Option<Membership> {
    let status: Status = serde_json::from_str(text).ok()?;
    let list = &status.membership;
    let mut words = match (list.state.as_str(), &list.expires) {
        ("valid", Some(expires)) => format!("in force until {expires}"),
        ("expired", Some(expires)) => {
            format!("EXPIRED at {expires}: nobody federates until a new one arrives")
        }
        _ => "none yet: nobody federates".to_owned(),
    };
    let _ = write!(words, "; version {}, {} active", list.version, list.active);
    if let Some(why) = &list.last_error {
        let _ = write!(words, "; NOT RENEWED: {why}");
    }
    Some(Membership {
        certificate: status.certificate.map(|it| it.not_after),
        list: words,
        peers: format!(
            "{} connected, {} cannot be reached",
            status.peers.connected, status.peers.failing
        ),
    })
}

/// The line on updates, from what the updater wrote last.
fn update(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Words {
        message: String,
    }
    serde_json::from_str::<Words>(text)
        .ok()
        .map(|it| it.message)
}

fn version(os_release: &str) -> String {
    let line = os_release
        .lines()
        .find_map(|line| line.strip_prefix("IMAGE_VERSION="));
    line.unwrap_or("unknown").trim_matches('"').to_owned()
}

/// The slot of the root partition whose verity hash the kernel was told: its UUID is the hash's first half.
fn slot(disk: &disks::Disk, cmdline: &str) -> String {
    let hash = cmdline
        .split_whitespace()
        .find_map(|word| word.strip_prefix("roothash="));
    let plain = |uuid: &str| uuid.replace('-', "").to_lowercase();
    let found = hash.and_then(|hash| {
        let of_hash =
            |it: &&disks::Partition| it.uuid.len() == 36 && hash.starts_with(&plain(&it.uuid));
        disk.partitions.iter().find(of_hash)
    });
    found.map_or("slot unknown".to_owned(), |it| {
        format!("slot {} ({})", it.label, it.name)
    })
}

fn addresses() -> Vec<String> {
    let all = getifaddrs().into_iter().flatten();
    all.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|it| it.ip().to_string());
        let v6 = address.as_sockaddr_in6().map(|it| it.ip().to_string());
        let address = v4.or(v6).filter(|_| interface.interface_name != "lo")?;
        Some(format!("{address} ({})", interface.interface_name))
    })
    .take(MAX_ADDRESSES)
    .collect()
}

fn text(host: Host<'_>, path: &str) -> String {
    // Files of the kernel have no size, so they are read in their own way.
    std::fs::read_to_string(host.paths.at(path)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::tests::host, paths::Paths, programs::tests::Recorder};

    const STATUS: &str = r#"{"server_name": "interior.lu", "certificate": {"not_after": "2026-06-01T00:00:00Z",
        "fingerprint": "ab"}, "membership": {"state": "valid", "version": 3, "expires": "2026-06-01T00:00:00Z",
        "active": 12, "inactive": 0, "last_checked": null, "last_error": "no answer"},
        "peers": {"connected": 4, "failing": 1}, "anything": "else"}"#;

    #[test]
    fn the_view_comes_from_files_and_from_the_server() {
        let root = disks::tests::machine();
        let paths = Paths::below(root.path());
        std::fs::create_dir_all(paths.state().join("update")).unwrap();
        std::fs::create_dir_all(paths.run()).unwrap();
        std::fs::create_dir_all(paths.at("etc")).unwrap();
        std::fs::write(
            paths.at("etc/os-release"),
            "ID=luxchat\nIMAGE_VERSION=\"0.2.0\"\n",
        )
        .unwrap();
        std::fs::write(
            paths.site(),
            "server_name = \"interior.lu\"\n[admin]\nlisten = \"127.0.0.1:9099\"",
        )
        .unwrap();
        std::fs::write(paths.run().join("boot-is-good"), "").unwrap();
        std::fs::write(
            paths.state().join("update/status.json"),
            r#"{"state":"idle","message":"none waits"}"#,
        )
        .unwrap();
        let programs = Recorder::default().answering("status --json", Ok(STATUS));
        let view = gather(host(&paths, &programs));
        assert_eq!(view.version, "0.2.0");
        assert_eq!(view.server_name.as_deref(), Some("interior.lu"));
        assert_eq!(view.health, Health::Good);
        assert_eq!(view.update.as_deref(), Some("none waits"));
        let membership = view.membership.unwrap();
        assert_eq!(
            membership.certificate.as_deref(),
            Some("2026-06-01T00:00:00Z")
        );
        assert!(
            membership
                .list
                .contains("12 active; NOT RENEWED: no answer"),
            "{}",
            membership.list
        );
        assert!(programs.lines()[0].ends_with("--admin 127.0.0.1:9099"));

        let silent = Recorder::default().answering("status", Err("no box answers"));
        assert_eq!(gather(host(&paths, &silent)).membership, None);
    }

    #[test]
    fn the_slot_is_the_one_that_the_root_hash_names() {
        let partition = |name: &str, label: &str, uuid: &str| disks::Partition {
            name: name.to_owned(),
            number: 2,
            label: label.to_owned(),
            kind: String::new(),
            uuid: uuid.to_owned(),
            bytes: 0,
        };
        let disk = disks::Disk {
            name: "sda".to_owned(),
            model: String::new(),
            bytes: 0,
            is_usb: false,
            partitions: vec![
                partition("sda1", "esp", ""),
                partition("sda2", "root_0.1.0", "00000000-0000-4000-8000-000000000001"),
                partition("sda4", "root_0.2.0", "00000000-0000-4000-8000-000000000002"),
            ],
        };
        let cmdline =
            "quiet roothash=00000000000040008000000000000002ffffffffffffffffffffffffffffffff ro";
        assert_eq!(slot(&disk, cmdline), "slot root_0.2.0 (sda4)");
        assert_eq!(slot(&disk, "quiet"), "slot unknown");
    }
}
