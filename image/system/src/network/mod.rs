//! The box's network as the site file names it, and nothing beyond: addresses, the packet filter, time servers, sockets.

mod filter;
mod links;
mod settings;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use luxchat_bundle::files::{self, Access};

pub use self::settings::Settings;
use crate::{
    host::Host,
    programs::{CommandLine, SYSTEMCTL},
    site::Site,
};

const NFT: &str = "/usr/sbin/nft";
const NETWORK: &str = "systemd-networkd.service";
const TIME: &str = "systemd-timesyncd.service";

/// Sets the network up as the site file in force says. Written anew at each start: what is left over from another site file
/// is not there.
pub fn apply(host: Host<'_>) -> Result<()> {
    let site = Site::in_force(host)?;
    let settings = Settings::load(&host.paths.network_override())?;
    let network = settings.apply_to(site.network()?.clone());
    for (path, text) in generated(&site, &network, host) {
        put(&path, &text)?;
    }
    let rules = rules_path(host);
    put(&rules, &filter::rules(&site, &network))?;
    let run = |line: CommandLine| host.programs.run(&line).map(drop);
    // First the filter: there is no moment at which the box may speak to more than it should.
    run(CommandLine::new(NFT).arg("--file").arg(&rules)).context("the packet filter")?;
    let systemctl = |arguments: &[&str]| run(CommandLine::new(SYSTEMCTL).args(arguments));
    systemctl(&["daemon-reload"])?;
    systemctl(&["--no-block", "restart", NETWORK])?;
    let time = if network.ntp.is_empty() {
        "stop"
    } else {
        "restart"
    };
    systemctl(&["--no-block", time, TIME])
}

/// Every file that follows from a site file, but for the packet filter's.
fn generated(
    site: &Site,
    network: &crate::site::Network,
    host: Host<'_>,
) -> Vec<(PathBuf, String)> {
    let at = |path: &str| host.paths.at(path);
    let socket = |name: &str| {
        at(&format!(
            "run/systemd/system/luxchat-{name}.socket.d/site.conf"
        ))
    };
    vec![
        (
            at("run/systemd/network/10-luxchat.network"),
            links::network(network),
        ),
        (
            // Not the name of the image's own file, which would hide it.
            at("run/systemd/timesyncd.conf.d/site.conf"),
            links::time(network),
        ),
        (at("run/luxchat/resolv.conf"), links::resolver(network)),
        (socket("client"), links::socket(site.client)),
        (socket("federation"), links::socket(site.federation)),
    ]
}

fn rules_path(host: Host<'_>) -> PathBuf {
    host.paths.run().join("filter.nft")
}

fn put(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        files::create_folder(folder)?;
    }
    Ok(files::replace(path, text.as_bytes(), Access::Public)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::tests::host, paths::Paths, programs::tests::Recorder, site};

    #[test]
    fn the_filter_is_in_force_before_the_network_is() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let data_dir = paths.data_dir();
        let answer = site::tests::answer(&data_dir.to_string_lossy());
        let programs = Recorder::default().answering("check-config", Ok(answer.to_string().leak()));
        let host = host(&paths, &programs);
        apply(host).unwrap();
        let lines = programs.lines();
        let position = |part: &str| lines.iter().position(|line| line.contains(part)).unwrap();
        assert!(
            position("nft --file") < position("restart systemd-networkd"),
            "{lines:?}"
        );
        assert!(
            lines.contains(
                &"/usr/bin/systemctl --no-block stop systemd-timesyncd.service".to_owned()
            )
        );
        let read = |path: &str| std::fs::read_to_string(paths.at(path)).unwrap();
        assert!(read("run/systemd/timesyncd.conf.d/site.conf").starts_with("[Time]"));
        assert!(read("run/systemd/network/10-luxchat.network").contains("Address=10.20.1.5/24"));
        let socket = read("run/systemd/system/luxchat-federation.socket.d/site.conf");
        assert_eq!(
            socket,
            "[Socket]\nListenStream=\nListenStream=10.20.1.5:8448\n"
        );
        assert_eq!(read("run/luxchat/resolv.conf"), "nameserver 10.20.0.53\n");
    }

    /// Of two files of one name systemd reads that below /etc alone; of two names, the later one last.
    #[test]
    fn no_file_of_the_image_hides_what_the_site_file_says() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let programs = Recorder::default();
        let answer = site::tests::answer(&paths.data_dir().to_string_lossy());
        let site: Site = serde_json::from_value(answer).unwrap();
        let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipe/overlay/etc");
        for (path, _) in generated(&site, site.network().unwrap(), host(&paths, &programs)) {
            let Ok(below) = path.strip_prefix(paths.at("run")) else {
                continue;
            };
            let folder = overlay.join(below.parent().unwrap());
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let name = entry.unwrap().file_name();
                assert!(*name < *below.file_name().unwrap(), "{name:?}");
            }
        }
    }
}
