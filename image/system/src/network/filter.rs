//! The packet filter: what is not named is dropped.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use super::links::has_v6;
use crate::{
    programs::APPLIANCE_USER,
    site::{Destination, Network, Site},
};

const DNS: u16 = 53;
const NTP: u16 = 123;

/// Rules for `nft --file`, which puts them in force all at once in place of those before.
pub(super) fn rules(site: &Site, network: &Network) -> String {
    let mut input = vec![
        "iif lo accept".to_owned(),
        "ct state established,related accept".to_owned(),
        "ct state invalid drop".to_owned(),
        "icmp type echo-request limit rate 10/second accept".to_owned(),
    ];
    let mut output = vec![
        "oif lo accept".to_owned(),
        "ct state established,related accept".to_owned(),
    ];
    if has_v6(network) {
        let neighbours = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept";
        input.push(neighbours.to_owned());
        input.push("icmpv6 type echo-request limit rate 10/second accept".to_owned());
        output.push(neighbours.to_owned());
    }
    if network.dhcp {
        input.push("udp sport 67 udp dport 68 accept".to_owned());
        output.push("udp sport 68 udp dport 67 accept".to_owned());
    }
    let listeners = [site.client, site.federation]
        .into_iter()
        .filter_map(listener);
    input.extend(listeners);
    for server in &network.dns {
        for protocol in ["udp", "tcp"] {
            output.push(format!("{} {protocol} dport {DNS} accept", to(*server)));
        }
    }
    for server in &network.ntp {
        output.push(format!("{} udp dport {NTP} accept", to(*server)));
    }
    output.extend(network.outbound.iter().map(destination));
    // A connection that is not named fails at once, and does not hang.
    output.push("meta l4proto tcp reject with tcp reset".to_owned());
    table(&input, &output)
}

fn table(input: &[String], output: &[String]) -> String {
    let mut text =
        String::from("table inet luxchat\ndelete table inet luxchat\ntable inet luxchat {\n");
    for (chain, rules) in [("input", input), ("forward", &[][..]), ("output", output)] {
        let _ = writeln!(text, "  chain {chain} {{");
        let _ = writeln!(
            text,
            "    type filter hook {chain} priority filter; policy drop;"
        );
        for rule in rules {
            let _ = writeln!(text, "    {rule}");
        }
        text.push_str("  }\n");
    }
    text.push_str("}\n");
    text
}

/// Lets whoever asks reach a listener; one on a loopback address needs no rule.
fn listener(address: SocketAddr) -> Option<String> {
    let port = address.port();
    match address.ip() {
        ip if ip.is_loopback() => None,
        ip if ip.is_unspecified() => Some(format!("tcp dport {port} ct state new accept")),
        ip => Some(format!("{} tcp dport {port} ct state new accept", to(ip))),
    }
}

/// Lets the server, and no other program, open connections there.
fn destination(destination: &Destination) -> String {
    let Destination { network, port } = destination;
    let family = if network.addr().is_ipv6() {
        "ip6"
    } else {
        "ip"
    };
    format!("meta skuid {APPLIANCE_USER} {family} daddr {network} tcp dport {port} accept")
}

fn to(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("ip daddr {address}"),
        IpAddr::V6(address) => format!("ip6 daddr {address}"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::site;

    fn site() -> Site {
        serde_json::from_value(site::tests::answer("/var/lib/luxchat")).unwrap()
    }

    #[test]
    fn only_what_the_site_file_names_is_let_through() {
        let site = site();
        let mut network = site.network.clone().unwrap();
        network.ntp = vec!["10.20.0.123".parse().unwrap()];
        let text = rules(&site, &network);
        let accepted: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| line.ends_with("accept") && !line.contains("ct state established"))
            .collect();
        assert_eq!(
            accepted,
            [
                "iif lo accept",
                "icmp type echo-request limit rate 10/second accept",
                "tcp dport 443 ct state new accept",
                "ip daddr 10.20.1.5 tcp dport 8448 ct state new accept",
                "oif lo accept",
                "ip daddr 10.20.0.53 udp dport 53 accept",
                "ip daddr 10.20.0.53 tcp dport 53 accept",
                "ip daddr 10.20.0.123 udp dport 123 accept",
                "meta skuid luxchat ip daddr 10.20.0.0/16 tcp dport 8448 accept",
                "meta skuid luxchat ip6 daddr 2001:db8::/32 tcp dport 8448 accept",
            ]
        );
        assert_eq!(text.matches("policy drop;").count(), 3);
        assert!(!text.contains("dport 67"));
    }

    #[test]
    fn a_listener_on_loopback_opens_nothing() {
        let mut site = site();
        site.client = "127.0.0.1:8008".parse().unwrap();
        let text = rules(&site, &Network::default());
        assert!(!text.contains("8008"), "{text}");
    }

    #[test]
    fn the_packet_filter_understands_the_rules() {
        let site = site();
        let mut network = site.network.clone().unwrap();
        network.dhcp = true;
        network.addresses.push("2001:db8::5/64".parse().unwrap());
        // The server's user is there on a box alone.
        let text = rules(&site, &network).replace("skuid luxchat", "skuid root");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let check = Command::new("/usr/sbin/nft")
            .args(["--check", "--file"])
            .arg(file.path())
            .output()
            .expect("this test needs /usr/sbin/nft: install nftables");
        let words = String::from_utf8_lossy(&check.stderr);
        // Whoever may not ask the kernel still learns of wrong words.
        assert!(
            check.status.success() || words.contains("Operation not permitted"),
            "{words}"
        );
    }
}
