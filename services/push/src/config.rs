use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use luxchat_store::Backoff;
use rustls_pki_types::CertificateDer;
use url::{Host, Url};

/// What a site decides about push.
#[derive(Clone, Debug)]
pub struct Config {
    /// The gateways that the server may speak to. Without any, no pusher can be set.
    pub gateways: Vec<Gateway>,
    /// Private addresses that a gateway's name may stand for.
    pub private_addresses: Vec<IpAddr>,
    /// Whether gateways are told sender, room and content of an event where the client asks for that. Otherwise its id is
    /// all they get.
    pub full_events: bool,
    /// Who vouches for the gateways' certificates.
    pub authorities: Vec<CertificateDer<'static>>,
    /// When a notification that a gateway did not accept is sent again.
    pub retry: Backoff,
    /// A notification that is not accepted after this time is no longer news.
    pub keep: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            gateways: Vec::new(),
            private_addresses: Vec::new(),
            full_events: false,
            authorities: Vec::new(),
            retry: Backoff {
                first: Duration::from_secs(1),
                longest: Duration::from_mins(30),
            },
            keep: Duration::from_hours(24),
        }
    }
}

impl Config {
    /// Whether the server may send notifications to this URL.
    pub(crate) fn allows(&self, url: &Url) -> bool {
        url.path() == NOTIFY_PATH
            && url.query().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && self.gateways.iter().any(|gateway| gateway.serves(url))
    }
}

/// <https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify>
const NOTIFY_PATH: &str = "/_matrix/push/v1/notify";

/// A push gateway: scheme, host and port. One without TLS is only used where the site file says so by its scheme.
#[derive(Clone, PartialEq, Eq)]
pub struct Gateway(Url);

impl Gateway {
    /// Whether connections to it are by TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Its address, where it is named by that.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    fn serves(&self, url: &Url) -> bool {
        self.0.scheme() == url.scheme()
            && self.0.host() == url.host()
            && self.0.port_or_known_default() == url.port_or_known_default()
    }
}

impl FromStr for Gateway {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("{text}: {error}"))?;
        let is_origin = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let is_plain = url.username().is_empty() && url.password().is_none();
        if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
            return Err(format!("{text}: a gateway is named as https://host"));
        }
        if !(is_origin && is_plain) {
            return Err(format!(
                "{text}: a gateway is named by scheme, host and port alone"
            ));
        }
        Ok(Self(url))
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_named_by_their_origin() {
        for wrong in [
            "push.example.org",
            "ftp://push.example.org",
            "https://push.example.org/_matrix/push/v1/notify",
            "https://user@push.example.org",
        ] {
            assert!(wrong.parse::<Gateway>().is_err(), "{wrong}");
        }
        let config = Config {
            gateways: vec!["https://push.example.org".parse().unwrap()],
            ..Config::default()
        };
        let allows = |url: &str| config.allows(&Url::parse(url).unwrap());
        assert!(allows("https://push.example.org/_matrix/push/v1/notify"));
        assert!(allows(
            "https://PUSH.example.org:443/_matrix/push/v1/notify"
        ));
        for wrong in [
            "http://push.example.org/_matrix/push/v1/notify",
            "https://push.example.org:444/_matrix/push/v1/notify",
            "https://push.example.org/elsewhere",
            "https://push.example.org/_matrix/push/v1/notify?x",
            "https://a@push.example.org/_matrix/push/v1/notify",
            "https://push.example.org.evil.example/_matrix/push/v1/notify",
        ] {
            assert!(!allows(wrong), "{wrong}");
        }
    }
}
