//! What was set on the console in place of the site file's addresses: a box whose address is wrong cannot be reached to be
//! given another. It cannot widen what the box may speak to.

use std::{net::IpAddr, path::Path};

use anyhow::{Context, Result};
use ipnet::IpNet;
use luxchat_bundle::files::{self, Access};
use serde::{Deserialize, Serialize};

use crate::site::Network;

const MAX_BYTES: usize = 4_096;

/// Addresses from the console.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Settings {
    /// As the site file says.
    #[default]
    Site,
    /// By DHCP.
    Dhcp,
    /// One address and one gateway.
    Fixed {
        /// With its prefix length.
        address: IpNet,
        /// Where everything else lies.
        gateway: Option<IpAddr>,
    },
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    network: Settings,
}

impl Settings {
    /// What was set last; as the site file says if nothing was.
    pub fn load(path: &Path) -> Result<Self> {
        if !path.is_file() {
            return Ok(Self::default());
        }
        let text = String::from_utf8(files::read(path, MAX_BYTES)?)?;
        let document: Document =
            toml::from_str(&text).with_context(|| path.display().to_string())?;
        Ok(document.network)
    }

    /// Keeps it across restarts.
    pub fn save(&self, path: &Path) -> Result<()> {
        let network = self.clone();
        let text = toml::to_string(&Document { network })?;
        Ok(files::replace(path, text.as_bytes(), Access::Private)?)
    }

    /// From what was typed on the console: an address with its prefix length, and a gateway or nothing.
    pub fn fixed(address: &str, gateway: &str) -> Result<Self, String> {
        let fault = |text: &str, form: &str| format!("{text:?} is not {form}");
        let address: IpNet = address.trim().parse().map_err(|_| {
            fault(
                address,
                "an address with its prefix length, such as 10.20.1.5/24",
            )
        })?;
        let gateway = match gateway.trim() {
            "" => None,
            text => Some(text.parse().map_err(|_| fault(text, "an address"))?),
        };
        if gateway.is_some_and(|gateway: IpAddr| !address.contains(&gateway)) {
            return Err("the gateway does not lie in the network of the address".to_owned());
        }
        if address.addr().is_unspecified()
            || address.addr().is_loopback()
            || address.addr().is_multicast()
        {
            return Err(format!("{address} cannot be the address of a box"));
        }
        Ok(Self::Fixed { address, gateway })
    }

    /// The network with these addresses.
    pub fn apply_to(self, mut network: Network) -> Network {
        match self {
            Self::Site => {}
            Self::Dhcp => {
                network.dhcp = true;
                network.addresses.clear();
                network.gateways.clear();
            }
            Self::Fixed { address, gateway } => {
                network.dhcp = false;
                network.addresses = vec![address];
                network.gateways = gateway.into_iter().collect();
            }
        }
        network
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.toml");
        assert_eq!(Settings::load(&path).unwrap(), Settings::Site);
        for settings in [
            Settings::Dhcp,
            Settings::fixed("10.20.1.9/24", "10.20.1.1").unwrap(),
            Settings::fixed("2001:db8::9/64", "").unwrap(),
            Settings::Site,
        ] {
            settings.save(&path).unwrap();
            assert_eq!(Settings::load(&path).unwrap(), settings);
        }
    }

    #[test]
    fn addresses_are_replaced_and_nothing_else() {
        let site = Network {
            dhcp: true,
            dns: vec!["10.20.0.53".parse().unwrap()],
            ..Network::default()
        };
        let fixed = Settings::fixed("10.20.1.9/24", "10.20.1.1").unwrap();
        let network = fixed.apply_to(site.clone());
        assert!(!network.dhcp);
        assert_eq!(network.dns, site.dns);
        assert_eq!(Settings::Site.apply_to(site.clone()), site);
    }

    #[test]
    fn mistyped_addresses_are_refused_in_words() {
        for (address, gateway) in [
            ("10.20.1.9", ""),
            ("10.20.1.9/33", ""),
            ("", ""),
            ("10.20.1.9/24", "10.20.2.1"),
            ("10.20.1.9/24", "gateway"),
            ("127.0.0.1/8", ""),
        ] {
            assert!(
                Settings::fixed(address, gateway).is_err(),
                "{address} {gateway}"
            );
        }
    }
}
