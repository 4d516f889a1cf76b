//! The site file: one TOML document, the only configuration a box reads. Unknown keys are refused by name and line.

mod application_services;
mod client;
mod directory;
mod email;
mod federation;
mod limits;
mod log;
mod media;
mod network;
mod presence;
mod previews;
mod push;
mod registration;
mod rooms;
mod sample;
mod server_notices;
mod support;
mod turn;
mod updates;
mod user_directory;

use std::path::{Path, PathBuf};

use luxchat_bundle::ServerName;
use serde::Deserialize;

pub use self::{
    application_services::ApplicationServices,
    client::{Client, Tls},
    directory::Directory,
    email::Email,
    federation::{ClientCertificates, Federation, PlainPeer},
    limits::Limits,
    log::Log,
    media::{Media, Scanner, WhenDown},
    network::{Destination, Network},
    presence::Presence,
    previews::Previews,
    push::Push,
    registration::Registration,
    rooms::Rooms,
    sample::SAMPLE,
    server_notices::ServerNotices,
    support::Support,
    turn::Turn,
    updates::Updates,
    user_directory::UserDirectory,
};

/// A site file longer than this is not one.
const MAX_BYTES: u64 = 1024 * 1024;

/// Everything a site decides about its box.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The Matrix server name: what stands behind the colon in user ids. It can never change.
    pub server_name: ServerName,
    /// The administration in words, for people.
    pub display_name: String,
    /// Where the box keeps its keys, its database and what the directory published.
    pub data_dir: PathBuf,
    /// The listener for Matrix clients.
    pub client: Client,
    /// The listener for other servers, and whom to talk to.
    pub federation: Federation,
    /// The national role, on the one box that has it.
    #[serde(default)]
    pub directory: Option<Directory>,
    /// Who may make an account.
    #[serde(default)]
    pub registration: Registration,
    /// What new rooms are like.
    #[serde(default)]
    pub rooms: Rooms,
    /// Whether users see who is there.
    #[serde(default)]
    pub presence: Presence,
    /// The relay that takes e-mails, if there is one.
    #[serde(default)]
    pub email: Option<Email>,
    /// Whom users can ask for help.
    #[serde(default)]
    pub support: Option<Support>,
    /// The TURN server for calls, if there is one.
    #[serde(default)]
    pub turn: Option<Turn>,
    /// Whom users can find.
    #[serde(default)]
    pub user_directory: UserDirectory,
    /// How much one client may ask for.
    #[serde(default)]
    pub limits: Limits,
    /// How much of the disk is for media.
    #[serde(default)]
    pub media: Media,
    /// Previews of the web pages that messages name.
    #[serde(default)]
    pub previews: Previews,
    /// Which push gateways the box may speak to.
    #[serde(default)]
    pub push: Push,
    /// Bridges and the like.
    #[serde(default)]
    pub application_services: ApplicationServices,
    /// As whom the box speaks to its users.
    #[serde(default)]
    pub server_notices: ServerNotices,
    /// What the operating system of a sealed box sets up.
    #[serde(default)]
    pub network: Option<Network>,
    /// Health, metrics and status, for this machine alone.
    #[serde(default)]
    pub admin: Admin,
    /// When a sealed box takes a new release of its operating system.
    #[serde(default)]
    pub updates: Updates,
    /// What is logged.
    #[serde(default)]
    pub log: Log,
    /// The program that decodes images, which knows the command `thumbnailer`. Not the site's choice: it is the box's own.
    /// `None`: images are not decoded.
    #[serde(skip)]
    pub thumbnailer: Option<PathBuf>,
    /// The release that a sealed box runs. Not the site's choice either. `None`: this is no sealed box.
    #[serde(skip)]
    pub release: Option<luxchat_bundle::ReleaseVersion>,
}

/// The local listener for health checks, Prometheus and `status`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// A loopback address; port 0 takes any free one.
    pub listen: std::net::SocketAddr,
    /// Whether users who are administrators may use `/_synapse/admin` on the listener for clients.
    pub synapse_api: bool,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 9091).into(),
            synapse_api: false,
        }
    }
}

/// Why a site file was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{path}: {why}")]
    Unreadable {
        /// The site file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The file is no TOML, or has a key or value that means nothing here.
    #[error("{path}: {why}")]
    Malformed {
        /// The site file.
        path: PathBuf,
        /// The parser's message, with line and column.
        why: String,
    },
    /// Every key is fine by itself, but together they make no sense.
    #[error("{path}: {why}")]
    Inconsistent {
        /// The site file.
        path: PathBuf,
        /// What to change.
        why: String,
    },
}

impl Config {
    /// Reads and checks a site file.
    ///
    /// # Errors
    ///
    /// Names the file, and the line where there is one.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let unreadable = |why: String| Error::Unreadable {
            path: path.to_owned(),
            why,
        };
        let size = std::fs::metadata(path)
            .map_err(|error| unreadable(error.to_string()))?
            .len();
        if size > MAX_BYTES {
            return Err(unreadable(format!(
                "{size} bytes is more than a site file may have ({MAX_BYTES})"
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(&text).map_err(|error| error.at(path))
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let config: Self =
            toml::from_str(text).map_err(|error| Problem::Malformed(error.to_string()))?;
        config.check().map_err(Problem::Inconsistent)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if !self.data_dir.is_absolute() {
            return Err(format!(
                "data_dir must be an absolute path, not {}",
                self.data_dir.display()
            ));
        }
        if !self.admin.listen.ip().is_loopback() {
            return Err(format!(
                "admin.listen must be a loopback address, not {}",
                self.admin.listen
            ));
        }
        self.client.check()?;
        self.federation.check()?;
        self.push.check()?;
        self.rooms.check()?;
        if let Some(support) = &self.support {
            support.check()?;
        }
        if let Some(email) = &self.email {
            email.check()?;
        }
        if let Some(turn) = &self.turn {
            turn.check()?;
        }
        self.media.check()?;
        self.network.as_ref().map_or(Ok(()), Network::check)?;
        self.registration.check()
    }
}

enum Problem {
    Malformed(String),
    Inconsistent(String),
}

impl Problem {
    fn at(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Malformed(why) => Error::Malformed { path, why },
            Self::Inconsistent(why) => Error::Inconsistent { path, why },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match Config::parse(text) {
            Ok(_) => panic!("accepted:\n{text}"),
            Err(problem) => problem.at(Path::new("site.toml")).to_string(),
        }
    }

    #[test]
    fn the_sample_is_a_valid_site_file() {
        let config = Config::parse(SAMPLE)
            .map_err(|problem| problem.at(Path::new("sample")))
            .unwrap();
        assert_eq!(config.server_name.as_str(), "interieur.example.lu");
        assert!(config.directory.is_none());
    }

    #[test]
    fn every_commented_setting_of_the_sample_is_the_default() {
        let lines: Vec<&str> = SAMPLE
            .lines()
            .map(|line| line.strip_prefix("#= ").unwrap_or(line))
            .collect();
        let uncommented = lines.join(
            "
",
        );
        assert_ne!(uncommented, SAMPLE);
        let [plain, explicit] = [SAMPLE, &uncommented].map(|text| {
            let config = Config::parse(text)
                .map_err(|problem| problem.at(Path::new("sample")))
                .unwrap();
            format!("{config:#?}")
        });
        assert_eq!(plain, explicit);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let message = refused(&SAMPLE.replace("[client]", "[client]\ncolour = \"red\""));
        assert!(
            message.contains("colour") && message.contains("line"),
            "{message}"
        );
    }

    #[test]
    fn half_a_section_is_refused_by_name() {
        let email = "[email]\nrelay = \"smtp://relay:25\"\nfrom = \"a@b.lu\"\nuser = \"box\"\n";
        let alone = refused(&format!("{SAMPLE}\n{email}"));
        assert!(alone.contains("email.password_file"), "{alone}");
        let web = email.replace("smtp:", "http:");
        let web = refused(&format!("{SAMPLE}\n{web}"));
        assert!(web.contains("email.relay"), "{web}");
        let empty = refused(&format!("{SAMPLE}\n[support]\n"));
        assert!(empty.contains("[support]"), "{empty}");
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        let relative = refused(&SAMPLE.replace("/var/lib/luxchat", "luxchat"));
        assert!(relative.contains("data_dir"), "{relative}");
        let open_admin = refused(&SAMPLE.replace("[admin]", "[admin]\nlisten = \"0.0.0.0:9091\""));
        assert!(open_admin.contains("admin.listen"), "{open_admin}");
        let version = refused(&format!("{SAMPLE}\n[rooms]\ndefault_version = \"1\"\n"));
        assert!(version.contains("rooms.default_version"), "{version}");
        for scanner in [
            "",
            "clamd_socket = \"/a\"\nclamd_address = \"a:1\"",
            "icap = \"http://a/\"",
        ] {
            let scanner = refused(&format!("{SAMPLE}\n[media.scanner]\n{scanner}\n"));
            assert!(scanner.contains("media.scanner"), "{scanner}");
        }
        let tls = "[federation.tls]\ncertificate = \"/a.crt\"\nkey = \"/a.key\"\n";
        let plain = refused(&SAMPLE.replace("[registration]", &format!("{tls}[registration]")));
        assert!(plain.contains("[federation.tls]"), "{plain}");
        let authorities =
            refused(&SAMPLE.replace("[federation]", "[federation]\nauthorities = \"/a.pem\""));
        assert!(
            authorities.contains("federation.authorities"),
            "{authorities}"
        );
    }

    #[test]
    fn a_plain_peer_is_named_whole_or_refused() {
        let peer = "[[federation.peers]]\nserver_name = \"hs.lu\"\nendpoints = [\"hs.lu:8448\"]\n";
        let authorities = "authorities = \"/a.pem\"\n";
        let site = |settings: &str, peers: &str| {
            let settings = format!("[federation]\nclient_certificates = \"optional\"\n{settings}");
            SAMPLE
                .replace("[federation]", &settings)
                .replace("[registration]", &format!("{peers}[registration]"))
        };
        let whole = format!("{peer}{authorities}");
        for accepted in [site("", &whole), site(authorities, peer)] {
            let config = Config::parse(&accepted).map_err(|problem| problem.at(Path::new("a")));
            assert_eq!(config.unwrap().federation.peers.len(), 1);
        }
        for (text, reason) in [
            (site("", peer), "nobody vouches for hs.lu"),
            (site("", &format!("{whole}{whole}")), "hs.lu twice"),
            (site("discovery = true\n", &whole), "federation.discovery"),
            (
                site("", &whole.replace("\"hs.lu:8448\"", "")),
                "no endpoints",
            ),
            (
                SAMPLE.replace("[registration]", &format!("{whole}[registration]")),
                "[[federation.peers]]",
            ),
        ] {
            let message = refused(&text);
            assert!(message.contains(reason), "{message}");
        }
    }
}
