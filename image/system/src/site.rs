//! What the site file asks of the machine, as the server's program reads it.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use luxchat_bundle::ServerName;
use serde::Deserialize;

use crate::{
    host::Host,
    programs::{APPLIANCE, APPLIANCE_USER, CommandLine},
    update::Policy,
};

/// What the site file asks of the machine. More keys may come with later programs.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Site {
    /// The Matrix server name.
    pub server_name: ServerName,
    /// The administration in words.
    pub display_name: String,
    /// Keys and database.
    pub data_dir: PathBuf,
    /// Where clients are served.
    pub client: SocketAddr,
    /// Where other servers are served.
    pub federation: SocketAddr,
    /// The folder with the publication, on the box with the national role.
    pub publication: Option<PathBuf>,
    /// Addresses and destinations.
    pub network: Option<Network>,
    /// When a new release is taken.
    #[serde(default)]
    pub updates: Policy,
    /// The files that the site file names.
    pub files: Vec<PathBuf>,
}

/// The box's own network.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Network {
    /// Which network cards.
    pub interface: Option<String>,
    /// Whether addresses come by DHCP.
    pub dhcp: bool,
    /// The box's addresses.
    pub addresses: Vec<IpNet>,
    /// Where everything else lies.
    pub gateways: Vec<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Time servers.
    pub ntp: Vec<IpAddr>,
    /// Where the box may open connections to.
    pub outbound: Vec<Destination>,
}

/// A network and a TCP port in it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Destination {
    /// Where.
    pub network: IpNet,
    /// The TCP port.
    pub port: u16,
}

impl TryFrom<String> for Destination {
    type Error = String;

    /// Reads the form that the server's program writes: `10.0.0.0/8:8448` or `[2001:db8::/32]:8448`.
    fn try_from(text: String) -> Result<Self, String> {
        let parse = || {
            let (place, port) = text.rsplit_once(':')?;
            let place = place.trim_start_matches('[').trim_end_matches(']');
            Some(Self {
                network: place.parse().ok()?,
                port: port.parse().ok()?,
            })
        };
        parse().ok_or_else(|| format!("{text:?} is no destination"))
    }
}

impl Site {
    /// The site file in force.
    pub fn in_force(host: Host<'_>) -> Result<Self> {
        Self::read(&host.paths.site(), &host.paths.site_files(), host)
    }

    /// Reads and checks a site file together with the files that it names, which lie in `files` for now.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in the words of the server's program.
    pub fn read(path: &Path, files: &Path, host: Host<'_>) -> Result<Self> {
        let mut folders = host.paths.site_files().into_os_string();
        folders.push("=");
        folders.push(files);
        let mut check = CommandLine::new(APPLIANCE).arg("check-config");
        check = check.arg("--json").arg("--files").arg(folders).arg(path);
        if host.group.is_some() {
            check = check.user(APPLIANCE_USER);
        }
        let answer = host
            .programs
            .run(&check)
            .context("the site file is not right")?;
        let site: Self = serde_json::from_str(&answer)
            .context("the server's program speaks of the site file in another way")?;
        site.check(host).map_err(anyhow::Error::msg)?;
        Ok(site)
    }

    /// The network section.
    pub fn network(&self) -> Result<&Network> {
        let network = self.network.as_ref();
        network.context("the site file has no section [network], which a sealed box needs")
    }

    /// What a sealed box asks of a site file beyond what the server does.
    fn check(&self, host: Host<'_>) -> Result<(), String> {
        let data_dir = host.paths.data_dir();
        if self.data_dir != data_dir {
            return Err(format!(
                "data_dir must be {} on a sealed box",
                data_dir.display()
            ));
        }
        if self.network.is_none() {
            return Err(
                "the site file has no section [network], which a sealed box needs".to_owned(),
            );
        }
        let files = host.paths.site_files();
        if let Some(stray) = self.files.iter().find(|file| file.parent() != Some(&files)) {
            return Err(format!(
                "the site file names {}: on a sealed box every file lies in {}, and comes in the folder `files` of the \
                 stick",
                stray.display(),
                files.display()
            ));
        }
        match &self.publication {
            Some(folder) if folder.parent() != Some(&data_dir) => Err(format!(
                "directory.publication must be a folder in {}",
                data_dir.display()
            )),
            _ => Ok(()),
        }
    }
}

/// Puts a site file in force, with the files that come with it.
pub fn install(site: &Path, files: &Path, host: Host<'_>) -> Result<()> {
    use luxchat_bundle::files::{self as durable, Access};
    let place = host.paths.site_files();
    let fresh = host.paths.state().join("files.new");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)?;
    }
    durable::create_folder(&fresh)?;
    for entry in std::fs::read_dir(files)? {
        let from = entry?.path();
        let Some(name) = from.file_name() else {
            bail!("{} has no name", from.display());
        };
        let to = fresh.join(name);
        durable::create(&to, &std::fs::read(&from)?, Access::Private)?;
        host.let_appliance_read(&to)?;
    }
    host.let_appliance_read(&fresh)?;
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::rename(&fresh, &place)?;
    durable::replace(&host.paths.site(), &std::fs::read(site)?, Access::Private)?;
    host.let_appliance_read(&host.paths.site())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{host::tests::host, paths::Paths, programs::tests::Recorder};

    /// What the server's program says of a site file.
    pub(crate) fn answer(data_dir: &str) -> serde_json::Value {
        serde_json::json!({
            "server_name": "interior.lu",
            "display_name": "Interior",
            "data_dir": data_dir,
            "client": "0.0.0.0:443",
            "federation": "10.20.1.5:8448",
            "publication": null,
            "network": {
                "dhcp": false,
                "addresses": ["10.20.1.5/24"],
                "gateways": ["10.20.1.1"],
                "dns": ["10.20.0.53"],
                "ntp": [],
                "outbound": ["10.20.0.0/16:8448", "[2001:db8::/32]:8448"]
            },
            "files": []
        })
    }

    fn read(answer: &serde_json::Value) -> Result<Site> {
        let text: &'static str = answer.to_string().leak();
        let programs = Recorder::default().answering("check-config", Ok(text));
        let paths = Paths::default();
        let host = host(&paths, &programs);
        let site = Site::read(
            Path::new("/stick/site.toml"),
            Path::new("/stick/files"),
            host,
        );
        assert_eq!(
            programs.lines(),
            ["/usr/bin/luxchat-appliance check-config --json --files \
              /var/lib/luxchat-system/files=/stick/files /stick/site.toml"]
        );
        site
    }

    #[test]
    fn a_site_file_is_read_by_the_server_s_program() {
        let site = read(&answer("/var/lib/luxchat")).unwrap();
        assert_eq!(site.federation.port(), 8448);
        let outbound = &site.network().unwrap().outbound;
        assert_eq!(outbound[1].network, "2001:db8::/32".parse().unwrap());
    }

    #[test]
    fn a_site_file_for_another_machine_is_refused() {
        let refused = |change: fn(&mut serde_json::Value)| {
            let mut answer = answer("/var/lib/luxchat");
            change(&mut answer);
            read(&answer).unwrap_err().to_string()
        };
        assert!(refused(|it| it["data_dir"] = "/srv".into()).contains("data_dir"));
        assert!(refused(|it| it["network"] = serde_json::Value::Null).contains("[network]"));
        let stray = refused(|it| it["files"] = serde_json::json!(["/etc/shadow"]));
        assert!(stray.contains("/etc/shadow"), "{stray}");
        let climbing = refused(|it| {
            it["files"] = serde_json::json!(["/var/lib/luxchat-system/files/../../x"]);
        });
        assert!(climbing.contains("../x"), "{climbing}");
        let publication = refused(|it| it["publication"] = "/srv/repository".into());
        assert!(
            publication.contains("directory.publication"),
            "{publication}"
        );
    }
}
