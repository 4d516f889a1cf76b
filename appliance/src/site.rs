//! What a site file asks of the machine it is for: what the operating system of a sealed box sets up around the program.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use luxchat_bundle::ServerName;
use serde::Serialize;

use crate::{
    config::{Config, Network, Updates},
    settings,
};

/// What a site file asks of the machine, as `check-config --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Site {
    /// The Matrix server name.
    pub server_name: ServerName,
    /// The administration in words.
    pub display_name: String,
    /// Keys, database, and what the directory published.
    pub data_dir: PathBuf,
    /// Where Matrix clients are served.
    pub client: SocketAddr,
    /// Where other servers are served.
    pub federation: SocketAddr,
    /// The folder with the publication, on the box with the national role.
    pub publication: Option<PathBuf>,
    /// Addresses, name servers and destinations, where the site file says so.
    pub network: Option<Network>,
    /// When a new release is taken.
    pub updates: Updates,
    /// Every other file that the site file names.
    pub files: BTreeSet<PathBuf>,
}

impl Site {
    /// What `config` asks for.
    pub fn new(config: &Config) -> Self {
        let mut files = config.clone();
        Self {
            server_name: config.server_name.clone(),
            display_name: config.display_name.clone(),
            data_dir: config.data_dir.clone(),
            client: config.client.listen,
            federation: config.federation.listen,
            publication: config.directory.as_ref().map(|it| it.publication.clone()),
            network: config.network.clone(),
            updates: config.updates.clone(),
            files: named_files(&mut files)
                .into_iter()
                .map(|path| path.clone())
                .collect(),
        }
    }
}

/// Whether the files that `config` names can be read and mean something. Those that will lie in the folder `within` are
/// looked for in `instead`.
///
/// # Errors
///
/// Names the first file that is missing or unusable.
pub fn check_files(config: &Config, within: &Path, instead: &Path) -> Result<()> {
    let mut moved = config.clone();
    for path in named_files(&mut moved) {
        let Ok(rest) = path.strip_prefix(within) else {
            continue;
        };
        let there = instead.join(rest);
        if !there.is_file() {
            bail!("the site file names {}, which is not there", path.display());
        }
        *path = there;
    }
    settings::client_tls(&moved.client).context("[client.tls]")?;
    settings::federation_tls(&moved.federation).context("[federation.tls]")?;
    settings::federation(&moved.federation).context("[federation]")?;
    settings::accounts(&moved)?;
    settings::client_api(&moved)?;
    settings::application_services(&moved).map(drop)
}

/// Every file that a site file can name, but for the authorities of push gateways, which are the operating system's.
fn named_files(config: &mut Config) -> Vec<&mut PathBuf> {
    let mut files = Vec::new();
    for tls in [&mut config.client.tls, &mut config.federation.tls] {
        files.extend(
            tls.iter_mut()
                .flat_map(|tls| [&mut tls.certificate, &mut tls.key]),
        );
    }
    files.extend(&mut config.federation.authorities);
    let peers = config.federation.peers.iter_mut();
    files.extend(peers.filter_map(|peer| peer.authorities.as_mut()));
    files.extend(&mut config.registration.shared_secret_file);
    let email = config.email.iter_mut();
    files.extend(email.filter_map(|email| email.password_file.as_mut()));
    files.extend(
        config
            .turn
            .iter_mut()
            .map(|turn| &mut turn.shared_secret_file),
    );
    files.extend(&mut config.application_services.registrations);
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SAMPLE;

    fn load(text: &str) -> Config {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(file.path()).unwrap()
    }

    #[test]
    fn files_are_looked_for_where_they_will_come_from() {
        let config = load(SAMPLE);
        let named: Vec<_> = Site::new(&config).files.into_iter().collect();
        assert_eq!(
            named,
            [
                Path::new("/etc/luxchat/client.crt"),
                Path::new("/etc/luxchat/client.key")
            ]
        );
        let stick = tempfile::tempdir().unwrap();
        let within = Path::new("/etc/luxchat");
        let missing = check_files(&config, within, stick.path()).unwrap_err();
        assert!(
            missing.to_string().contains("/etc/luxchat/client.crt"),
            "{missing}"
        );

        let made = rcgen::generate_simple_self_signed(["chat.lu".to_owned()]).unwrap();
        std::fs::write(stick.path().join("client.crt"), made.cert.pem()).unwrap();
        std::fs::write(
            stick.path().join("client.key"),
            made.signing_key.serialize_pem(),
        )
        .unwrap();
        check_files(&config, within, stick.path()).unwrap();
        std::fs::write(stick.path().join("client.key"), "no key").unwrap();
        let broken = check_files(&config, within, stick.path()).unwrap_err();
        assert!(format!("{broken:#}").contains("client.key"), "{broken:#}");
    }
}
