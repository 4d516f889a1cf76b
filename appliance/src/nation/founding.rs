//! How a nation comes to be on disk: the ceremony, the requests, the answers, the first publication.

use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    path::Path,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Result, bail};
use jiff::Timestamp;
use luxchat_bundle::files::{self, Access};
use luxchat_provision::{
    Authority, EnrolOptions, KeyCost, Plan as Ceremony, Quorum, SamePassphrase, Settings,
};
use luxchat_store::Clock;

use super::{Nation, Site};
use crate::{config::Config, data_dir::DataDir, enrolment};

pub(super) const AUTHORITY: &str = "authority";
pub(super) const PUBLICATION: &str = "repository";
/// The passphrase lies beside the keys it protects, so there is no use in making it costly to try.
pub(super) const KEY_COST: KeyCost = KeyCost::NEGLIGIBLE;

const PASSPHRASE: &str = "authority.passphrase";
/// Written last: a folder without it holds half a nation.
const BOXES: &str = "boxes";
const SITE_FILE: &str = "site.toml";
const MAX_SMALL_FILE: usize = 64 * 1024;

/// What a nation is to consist of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Short names of the ministries; each becomes `NAME.demo.lu`.
    pub ministries: Vec<String>,
    /// More lines for every box's site file.
    pub site_lines: String,
}

impl Default for Plan {
    /// Two ministries.
    fn default() -> Self {
        Self {
            ministries: vec!["interieur".to_owned(), "sante".to_owned()],
            site_lines: String::new(),
        }
    }
}

/// Whether a folder holds a nation that was founded to the end.
pub(super) fn is_whole(folder: &Path) -> bool {
    folder.join(BOXES).is_file()
}

pub(super) fn passphrase(folder: &Path) -> Result<SamePassphrase> {
    let bytes = files::read(&folder.join(PASSPHRASE), MAX_SMALL_FILE)?;
    Ok(SamePassphrase::new(String::from_utf8(bytes)?.trim()))
}

pub(super) fn sites(folder: &Path) -> Result<Vec<Site>> {
    let names = String::from_utf8(files::read(&folder.join(BOXES), MAX_SMALL_FILE)?)?;
    names.lines().map(|name| site(folder, name)).collect()
}

pub(super) fn found(folder: &Path, plan: &Plan, clock: &dyn Clock) -> Result<Nation> {
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!(
            "{} is neither empty nor a whole nation: name another folder, or delete it",
            folder.display()
        );
    }
    files::create_folder(folder)?;
    let folder = folder.canonicalize()?;
    let now = Timestamp::from_millisecond(i64::try_from(clock.now_ms())?)?;

    let secret = format!("demonstration {:032x}\n", rand::random::<u128>());
    files::create(&folder.join(PASSPHRASE), secret.as_bytes(), Access::Private)?;
    let passphrase = passphrase(&folder)?;
    let mut authority = Authority::init(&folder.join(AUTHORITY), &ceremony(), &passphrase, now)?;

    let names: Vec<String> = std::iter::once("directory".to_owned())
        .chain(plan.ministries.iter().cloned())
        .collect();
    let ports = free_ports(names.len() * 3)?;
    for (name, ports) in names.iter().zip(ports.chunks_exact(3)) {
        write_site_file(&folder, name, ports, &plan.site_lines)?;
        let config = site(&folder, name)?.config;
        let data = DataDir::open(&config.data_dir)?;
        let request = enrolment::request(&config, &data, now)?;
        let answer = authority.enrol(&request, EnrolOptions::default(), &passphrase, now)?;
        enrolment::install(&config, &data, &answer, now)?;
    }
    authority.publish(&folder.join(PUBLICATION), &passphrase, now)?;
    files::create(
        &folder.join(BOXES),
        names.join("\n").as_bytes(),
        Access::Public,
    )?;
    Nation::open(&folder)
}

fn ceremony() -> Ceremony {
    Ceremony {
        settings: Settings::new("Demonstration authority"),
        root: Quorum {
            keys: 3,
            threshold: 2,
        },
        targets: Quorum {
            keys: 2,
            threshold: 2,
        },
        cost: KEY_COST,
    }
}

fn write_site_file(folder: &Path, name: &str, ports: &[u16], more: &str) -> Result<()> {
    let [client, federation, admin] = ports else {
        bail!("a box needs three ports")
    };
    let data_dir = folder.join(name).join("data");
    let data_dir = data_dir.display();
    let directory = if name == "directory" {
        format!(
            "\n[directory]\npublication = \"{}\"\n",
            folder.join(PUBLICATION).display()
        )
    } else {
        String::new()
    };
    let text = format!(
        r#"server_name = "{name}.demo.lu"
display_name = "{name}"
data_dir = "{data_dir}"

[client]
listen = "127.0.0.1:{client}"
public_url = "http://127.0.0.1:{client}/"

[federation]
listen = "127.0.0.1:{federation}"
endpoints = ["127.0.0.1:{federation}"]

[admin]
listen = "127.0.0.1:{admin}"
{directory}{more}"#
    );
    files::create_folder(&folder.join(name))?;
    files::create(
        &folder.join(name).join(SITE_FILE),
        text.as_bytes(),
        Access::Public,
    )?;
    Ok(())
}

fn site(folder: &Path, name: &str) -> Result<Site> {
    let config = Config::load(&folder.join(name).join(SITE_FILE))?;
    Ok(Site {
        name: name.to_owned(),
        config,
    })
}

/// Below the range from which systems take the ports of outgoing connections, so that a box that is down for a while finds its
/// own still free.
const PORTS: Range<u16> = 10_000..32_000;

/// Ports that are free now, never the same twice in one process. They are written into site files, so that a nation keeps its
/// addresses when it starts again.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    static NEXT: LazyLock<AtomicUsize> =
        LazyLock::new(|| AtomicUsize::new(rand::random::<u16>().into()));
    let free: Vec<u16> = (0..PORTS.len())
        .map(|_| NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len())
        .filter_map(|place| PORTS.clone().nth(place))
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .take(count)
        .collect();
    if free.len() < count {
        bail!("there are no {count} free ports on 127.0.0.1 in {PORTS:?}");
    }
    Ok(free)
}
