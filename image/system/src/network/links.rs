//! Files for systemd-networkd, systemd-timesyncd, the resolver and the sockets.

use std::{fmt::Write, net::SocketAddr};

use crate::site::Network;

/// For systemd-networkd. Nothing is asked of or told to the network that the site file does not name: no address of the
/// link's own, no router's advertisements, no name or time server from DHCP.
pub(super) fn network(network: &Network) -> String {
    let mut text = String::from("[Match]\n");
    match &network.interface {
        Some(name) => {
            let _ = writeln!(text, "Name={name}");
        }
        None => text.push_str("Type=ether\nKind=!*\n"),
    }
    let dhcp = if network.dhcp { "ipv4" } else { "no" };
    let own = if has_v6(network) { "ipv6" } else { "no" };
    let _ = write!(
        text,
        "\n[Network]\nDHCP={dhcp}\nLinkLocalAddressing={own}\nIPv6AcceptRA=no\nLLMNR=no\nMulticastDNS=no\nLLDP=no\n\
         EmitLLDP=no\nDNSDefaultRoute=no\n"
    );
    for address in &network.addresses {
        let _ = writeln!(text, "Address={address}");
    }
    for gateway in &network.gateways {
        let _ = writeln!(text, "Gateway={gateway}");
    }
    if network.dhcp {
        text.push_str(
            "\n[DHCPv4]\nUseDNS=no\nUseNTP=no\nUseSIP=no\nUseHostname=no\nUseDomains=no\nUseTimezone=no\n\
             SendHostname=no\n",
        );
    }
    text
}

/// For systemd-timesyncd: the time servers of the site file and no others.
pub(super) fn time(network: &Network) -> String {
    format!("[Time]\nNTP={}\nFallbackNTP=\n", words(&network.ntp))
}

/// For the resolver.
pub(super) fn resolver(network: &Network) -> String {
    let lines = network
        .dns
        .iter()
        .map(|server| format!("nameserver {server}\n"));
    lines.collect()
}

/// For a socket unit, in place of the address that it has by default.
pub(super) fn socket(listen: SocketAddr) -> String {
    format!("[Socket]\nListenStream=\nListenStream={listen}\n")
}

pub(super) fn has_v6(network: &Network) -> bool {
    network
        .addresses
        .iter()
        .any(|address| address.addr().is_ipv6())
}

fn words(items: &[impl ToString]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_site_file() {
        let fixed = Network {
            interface: Some("eno1".to_owned()),
            addresses: vec![
                "10.20.1.5/24".parse().unwrap(),
                "2001:db8::5/64".parse().unwrap(),
            ],
            gateways: vec!["10.20.1.1".parse().unwrap()],
            ..Network::default()
        };
        let text = network(&fixed);
        for line in [
            "Name=eno1",
            "DHCP=no",
            "LinkLocalAddressing=ipv6",
            "Address=10.20.1.5/24",
            "Address=2001:db8::5/64",
            "Gateway=10.20.1.1",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in {text}");
        }
        assert!(!text.contains("[DHCPv4]"));
    }

    #[test]
    fn dhcp_brings_addresses_and_nothing_else() {
        let dhcp = Network {
            dhcp: true,
            ..Network::default()
        };
        let text = network(&dhcp);
        for line in [
            "Type=ether",
            "DHCP=ipv4",
            "LinkLocalAddressing=no",
            "UseDNS=no",
            "UseNTP=no",
            "SendHostname=no",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in {text}");
        }
        assert_eq!(time(&dhcp), "[Time]\nNTP=\nFallbackNTP=\n");
        assert_eq!(resolver(&dhcp), "");
    }
}
