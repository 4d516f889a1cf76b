//! Where a request comes from.

use std::{convert::Infallible, net::IpAddr};

use axum::extract::FromRequestParts;
use http::request::Parts;
use luxchat_http::RemoteAddress;

use crate::{Config, State};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address: the connection's, or the one that a trusted proxy names; `None` where the listener does not tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) Option<IpAddr>);

impl ClientAddress {
    pub(crate) fn of(parts: &Parts, config: &Config) -> Self {
        let connection = parts.extensions.get::<RemoteAddress>();
        let peer = connection.map(|RemoteAddress(address)| address.ip().to_canonical());
        let is_trusted = |address: IpAddr| config.trusted_proxies.contains(&address);
        if !peer.is_some_and(is_trusted) {
            return Self(peer);
        }
        // Each proxy adds the address it was spoken to from: the last one that is not a proxy of ours is the client's.
        let forwarded = parts
            .headers
            .get_all(FORWARDED_FOR)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|address| address.trim().parse::<IpAddr>().ok())
            .rfind(|address| !is_trusted(*address));
        Self(forwarded.or(peer))
    }
}

impl FromRequestParts<State> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Infallible> {
        Ok(Self::of(parts, state.config()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(peer: &str, forwarded: &[&str]) -> Option<IpAddr> {
        let mut request = http::Request::new(());
        for value in forwarded {
            request
                .headers_mut()
                .append(FORWARDED_FOR, value.parse().unwrap());
        }
        let peer = format!("{peer}:1234").parse().unwrap();
        request.extensions_mut().insert(RemoteAddress(peer));
        let config = Config {
            trusted_proxies: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
            ..Config::default()
        };
        ClientAddress::of(&request.into_parts().0, &config).0
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let of = |peer, forwarded: &[&str]| address(peer, forwarded).unwrap().to_string();
        assert_eq!(of("192.0.2.7", &["198.51.100.1"]), "192.0.2.7");
        assert_eq!(of("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            of("10.0.0.1", &["203.0.113.9, 198.51.100.1"]),
            "198.51.100.1"
        );
        assert_eq!(of("10.0.0.1", &["198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(
            of("10.0.0.1", &["203.0.113.9", "198.51.100.1"]),
            "198.51.100.1"
        );
        assert_eq!(of("10.0.0.1", &["nonsense"]), "10.0.0.1");
    }
}
