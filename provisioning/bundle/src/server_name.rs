//! Names and addresses of servers.

use std::{
    borrow::Borrow,
    fmt,
    net::{IpAddr, Ipv6Addr},
    ops::Deref,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{Error, text_form::text_form};

/// The longest server name. Leaves 25 bytes for the local part of a user id, which ends at 255:
/// <https://spec.matrix.org/v1.19/appendices/#user-identifiers>.
const MAX_SERVER_NAME: usize = 228;

/// A Matrix server name as the nation uses them: a DNS name in lower case, without a port. An
/// address or a port would tie the name, and with it every user id, to one machine; those belong
/// into [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerName(String);

impl ServerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match server_name_fault(name) {
            None => Ok(Self(name.to_owned())),
            Some(why) => Err(Error::ServerName {
                name: name.chars().take(MAX_SERVER_NAME).collect(),
                why,
            }),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Deref for ServerName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ServerName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ServerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

text_form!(ServerName);

/// Where a server listens for its peers: a DNS name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Name(ServerName),
    Address(IpAddr),
}

impl Endpoint {
    /// The host as a resolver takes it: an IPv6 address stands without brackets.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Name(name) => name.to_string(),
            Host::Address(address) => address.to_string(),
        }
    }

    /// The host, if it is an address that needs no resolver.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Name(_) => None,
            Host::Address(address) => Some(*address),
        }
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<std::net::SocketAddr> for Endpoint {
    fn from(address: std::net::SocketAddr) -> Self {
        Self {
            host: Host::Address(address.ip()),
            port: address.port(),
        }
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fault = || Error::Endpoint(text.chars().take(300).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(fault)?;
        let port = parse_port(port).ok_or_else(fault)?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = if let Some(v6) = bracketed {
            Host::Address(IpAddr::V6(v6.parse::<Ipv6Addr>().map_err(|_| fault())?))
        } else if let Ok(v4) = host.parse() {
            Host::Address(IpAddr::V4(v4))
        } else {
            Host::Name(host.parse().map_err(|_| fault())?)
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Address(IpAddr::V4(v4)) => write!(f, "{v4}:{}", self.port),
            Host::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]:{}", self.port),
        }
    }
}

text_form!(Endpoint);

/// A port other than 0, without sign or leading zeros.
fn parse_port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port != 0 && port.to_string() == text).then_some(port)
}

fn server_name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > MAX_SERVER_NAME {
        return Some("it is longer than 228 bytes");
    }
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Some("write it in lower case");
    }
    if name.contains(':') {
        return Some("it must not contain a port");
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return Some("it must be a DNS name, not an address");
    }
    let bad_label = |label: &str| {
        label.is_empty()
            || label.len() > 63
            || label.starts_with('-')
            || label.ends_with('-')
            || !label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if name.split('.').any(bad_label) {
        return Some("each part between dots holds 1 to 63 letters, digits and inner hyphens");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names_are_plain_dns_names() {
        for good in ["interior.lu", "hs1", "a-b.c1.gov.lu", "xn--bcher-kva.lu"] {
            assert_eq!(good.parse::<ServerName>().unwrap().as_str(), good);
        }
        let long = "a".repeat(64);
        let very_long = ["a"; 120].join(".");
        for bad in [
            "",
            ".",
            "a..b",
            "a.",
            ".a",
            "-a.lu",
            "a-.lu",
            "A.lu",
            "a_b.lu",
            "a b",
            "a.lu:8448",
            "10.0.0.1",
            "[::1]",
            "*.lu",
            "ministère.lu",
            "a/b",
            "a\0b",
            "..",
            &long,
            &very_long,
        ] {
            assert!(bad.parse::<ServerName>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn endpoints_round_trip() {
        for good in ["interior.lu:8448", "127.0.0.1:1", "[::1]:65535", "hs1:80"] {
            assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
        }
        for bad in [
            "interior.lu",
            "interior.lu:",
            ":80",
            "a:0",
            "a:65536",
            "a:+80",
            "a:080",
            "::1:80",
            "[::1]",
            "[::1:80",
            "[10.0.0.1]:80",
            "http://a:80",
            "a:80/",
            "1.2.3.4.5:80",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn an_endpoint_tells_addresses_from_names() {
        let address: Endpoint = "[2001:db8::1]:8448".parse().unwrap();
        assert_eq!(address.host(), "2001:db8::1");
        assert!(address.address().is_some());
        let name: Endpoint = "interior.lu:8448".parse().unwrap();
        assert_eq!((name.host().as_str(), name.port()), ("interior.lu", 8448));
        assert!(name.address().is_none());
    }
}
