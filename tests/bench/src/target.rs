//! Which server is loaded.

use std::net::SocketAddr;

use http::HeaderValue;
use url::Url;

/// The server under test: where to connect, and what to call it in the `Host` header.
#[derive(Clone, Debug)]
pub struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) host: HeaderValue,
}

/// Why a base URL is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("not a URL: {0}")]
    Invalid(#[from] url::ParseError),
    #[error("only plain http is measured (TLS would measure the cipher), not {0}")]
    Scheme(String),
    #[error("the URL names no host, or more than host and port: {0}")]
    Shape(Url),
    #[error("cannot resolve the host: {0}")]
    Resolve(#[from] std::io::Error),
    #[error("{0} is not a loopback address; --allow-remote loads it all the same")]
    NotLoopback(SocketAddr),
}

impl Target {
    /// Parses a base URL such as `http://127.0.0.1:8008` and resolves its host.
    ///
    /// Anything but a loopback address is refused unless `allow_remote` is set: a load generator pointed at someone
    /// else's server by mistake is an attack.
    pub fn resolve(base_url: &str, allow_remote: bool) -> Result<Self, TargetError> {
        let url = Url::parse(base_url)?;
        if url.scheme() != "http" {
            return Err(TargetError::Scheme(url.scheme().to_owned()));
        }
        let authority = url.authority();
        let host = HeaderValue::from_str(authority)
            .ok()
            .filter(|_| url.username().is_empty() && url.path() == "/" && url.query().is_none());
        let Some(host) = host else {
            return Err(TargetError::Shape(url));
        };
        let addresses = url.socket_addrs(|| None)?;
        let Some(&address) = addresses.first() else {
            return Err(TargetError::Shape(url));
        };
        match addresses.iter().find(|address| !address.ip().is_loopback()) {
            Some(&remote) if !allow_remote => Err(TargetError::NotLoopback(remote)),
            _ => Ok(Self { address, host }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_loopback() {
        let target = Target::resolve("http://127.0.0.1:8008", false).unwrap();
        assert_eq!(target.address, "127.0.0.1:8008".parse().unwrap());
        assert_eq!(target.host, "127.0.0.1:8008");
        assert!(Target::resolve("http://[::1]:8008/", false).is_ok());
    }

    #[test]
    fn refuses_a_remote_server_unless_allowed() {
        let refused = Target::resolve("http://192.0.2.1:8008", false).unwrap_err();
        assert!(matches!(refused, TargetError::NotLoopback(_)), "{refused}");
        assert!(Target::resolve("http://192.0.2.1:8008", true).is_ok());
    }

    #[test]
    fn refuses_what_it_would_misread() {
        for (url, expected) in [
            ("https://127.0.0.1", "plain http"),
            ("http://127.0.0.1/prefix", "more than host and port"),
            ("http://user@127.0.0.1/", "more than host and port"),
            ("127.0.0.1:8008", "not a URL"),
        ] {
            let error = Target::resolve(url, false).unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }
}
