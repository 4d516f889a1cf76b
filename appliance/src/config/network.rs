use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A list in this section that is longer is a mistake.
const MAX_ENTRIES: usize = 64;

/// What the operating system of a sealed box sets up. The program itself reads nothing of it: on any other machine the network
/// is the machine's own business.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Which network cards, as systemd-networkd names them, for example `en*`; absent: every wired one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Whether addresses and gateway come by DHCP. Name servers and time servers never do.
    #[serde(default)]
    pub dhcp: bool,
    /// The box's addresses with their prefix length, for example `10.20.1.5/24`.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// Where everything else lies.
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
    /// Name servers.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// Time servers (NTP). Without any, the time is that of the machine's own clock.
    #[serde(default)]
    pub ntp: Vec<IpAddr>,
    /// Where the box may open connections to, and to nothing else: a network or an address, and a TCP port.
    #[serde(default)]
    pub outbound: Vec<Destination>,
}

/// A network and a TCP port in it: `10.20.0.0/16:8448`, `10.20.9.1:465`, `[2001:db8::/32]:8448`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    /// Where.
    pub network: IpNet,
    /// The TCP port.
    pub port: u16,
}

impl Network {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.dhcp != self.addresses.is_empty() {
            return Err("[network] needs either dhcp = true or addresses".to_owned());
        }
        let lists = [
            ("addresses", self.addresses.len()),
            ("gateways", self.gateways.len()),
            ("dns", self.dns.len()),
            ("ntp", self.ntp.len()),
            ("outbound", self.outbound.len()),
        ];
        if let Some((name, _)) = lists.into_iter().find(|(_, length)| *length > MAX_ENTRIES) {
            return Err(format!(
                "network.{name} has more than {MAX_ENTRIES} entries"
            ));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "*?-_.".contains(c);
        match &self.interface {
            Some(name) if name.is_empty() || name.len() > 15 || !name.chars().all(is_plain) => Err(
                format!("network.interface must be a name such as eno1 or en*, not {name:?}"),
            ),
            _ => Ok(()),
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fault = || {
            format!(
                "{text:?} is no destination: write 10.20.0.0/16:8448, 10.20.9.1:465 or [2001:db8::/32]:8448"
            )
        };
        let (place, port) = text.rsplit_once(':').ok_or_else(fault)?;
        let port: u16 = port.parse().map_err(|_| fault())?;
        let bracketed = place
            .strip_prefix('[')
            .and_then(|place| place.strip_suffix(']'));
        let place = bracketed.unwrap_or(place);
        let network = place
            .parse::<IpNet>()
            .or_else(|_| place.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| fault())?.trunc();
        if port == 0 || bracketed.is_some() != network.addr().is_ipv6() {
            return Err(fault());
        }
        Ok(Self { network, port })
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        let Destination { network, port } = destination;
        if network.addr().is_ipv6() {
            format!("[{network}]:{port}")
        } else {
            format!("{network}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(text: &str) -> Result<String, String> {
        Destination::try_from(text.to_owned()).map(String::from)
    }

    #[test]
    fn destinations_are_networks_with_a_port() {
        for (text, meaning) in [
            ("10.20.0.0/16:8448", "10.20.0.0/16:8448"),
            ("10.20.3.4/16:8448", "10.20.0.0/16:8448"),
            ("10.20.9.1:465", "10.20.9.1/32:465"),
            ("[2001:db8::/32]:8448", "[2001:db8::/32]:8448"),
            ("[2001:db8::1]:25", "[2001:db8::1/128]:25"),
        ] {
            assert_eq!(destination(text).as_deref(), Ok(meaning));
        }
        for bad in [
            "",
            "10.20.0.0/16",
            "10.20.0.1:0",
            "peer.lu:8448",
            "::1:80",
            "[10.0.0.1]:80",
            "10.0.0.1:65536",
        ] {
            assert!(destination(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn addresses_come_from_the_site_file_or_by_dhcp() {
        let parse = |text: &str| toml::from_str::<Network>(text).unwrap().check();
        assert_eq!(parse("dhcp = true"), Ok(()));
        assert_eq!(
            parse("addresses = [\"10.0.0.5/24\"]\ninterface = \"en*\""),
            Ok(())
        );
        assert!(parse("").is_err());
        assert!(parse("dhcp = true\naddresses = [\"10.0.0.5/24\"]").is_err());
        let odd = parse("dhcp = true\ninterface = \"en]\\n[Match\"").unwrap_err();
        assert!(odd.contains("network.interface"), "{odd}");
    }
}
