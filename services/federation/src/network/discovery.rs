//! Where a server listens: the members list says; for other servers, where the site allows it, the network does.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names>

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_resolver::{TokioResolver, proto::rr::RData};
use http::uri::Authority;
use quick_cache::sync::Cache;
use ruma::{OwnedServerName, ServerName};
use tracing::debug;

use super::well_known;
use crate::{Config, Error, Membership, PlainPeer, Result, tls::Tls};

/// The port of a server that names none.
const DEFAULT_PORT: u16 = 8448;

/// How long what was found, or not found, counts.
const REMEMBERED: Duration = Duration::from_mins(10);

/// Servers whose addresses are remembered.
const CACHED: usize = 1_024;

/// SRV records of one name that are looked at.
const MAX_SRV: usize = 8;

/// Addresses of servers. Clones share what was found.
#[derive(Clone)]
pub(super) struct Addresses {
    shared: Arc<Shared>,
}

struct Shared {
    membership: Membership,
    /// `None` where the site does not allow to look.
    discovery: Option<Discovery>,
    found: Cache<OwnedServerName, (Instant, Arc<Found>)>,
    /// What was found for servers that have delegated their name, by the name that they delegated to.
    delegates: Cache<OwnedServerName, Arc<Found>>,
}

/// What looking takes.
struct Discovery {
    resolver: TokioResolver,
    well_known: well_known::Fetcher,
}

/// A host and a port, and the name that the certificate there must bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) certificate_name: String,
}

/// What looking for a server brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    targets: Vec<Target>,
    /// Whom requests address, where it is not the server's own name.
    delegated: Option<OwnedServerName>,
}

impl Addresses {
    pub(super) fn new(membership: Membership, tls: &Tls, config: &Config) -> Result<Self> {
        let discovery = config
            .discovery
            .then(|| Discovery::new(tls, config))
            .transpose()?;
        Ok(Self {
            shared: Arc::new(Shared {
                membership,
                discovery,
                found: Cache::new(CACHED),
                delegates: Cache::new(CACHED),
            }),
        })
    }

    /// Where `server` listens, best first; it may also be the name that another has delegated to.
    ///
    /// # Errors
    ///
    /// [`Error::NoAddress`].
    pub(super) async fn of(&self, server: &ServerName) -> Result<Vec<Target>> {
        let listed = self.listed(server);
        if !listed.is_empty() {
            return Ok(listed);
        }
        if let Some(found) = self.shared.delegates.get(server) {
            return Ok(found.targets.clone());
        }
        Ok(self.discovered(server).await?.targets.clone())
    }

    /// Whom requests to `server` address, where it has delegated its name.
    pub(super) async fn delegated(&self, server: &ServerName) -> Result<Option<Authority>> {
        let found = if let Some(peer) = self.shared.membership.plain(server) {
            Arc::new(plain(server, peer))
        } else if self.listed(server).is_empty() {
            self.discovered(server).await?
        } else {
            return Ok(None);
        };
        let Some(delegate) = &found.delegated else {
            return Ok(None);
        };
        let delegates = &self.shared.delegates;
        delegates.insert(delegate.clone(), Arc::clone(&found));
        delegate
            .as_str()
            .parse()
            .map(Some)
            .map_err(|_| Error::NoAddress(server.to_owned()))
    }

    /// The addresses behind a target's host name.
    pub(super) async fn resolve(&self, target: &Target) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = target.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, target.port)]);
        }
        let host = (target.host.as_str(), target.port);
        Ok(tokio::net::lookup_host(host).await?.collect())
    }

    fn listed(&self, server: &ServerName) -> Vec<Target> {
        if let Some(peer) = self.shared.membership.plain(server) {
            return plain(server, peer).targets;
        }
        let endpoints = self.shared.membership.endpoints(server).into_iter();
        endpoints
            .map(|endpoint| Target {
                host: endpoint.host(),
                port: endpoint.port(),
                certificate_name: server.host().to_owned(),
            })
            .collect()
    }

    async fn discovered(&self, server: &ServerName) -> Result<Arc<Found>> {
        let Some(discovery) = &self.shared.discovery else {
            return Err(Error::NoAddress(server.to_owned()));
        };
        if let Some((when, found)) = self.shared.found.get(server)
            && when.elapsed() < REMEMBERED
        {
            return Ok(found);
        }
        let found = Arc::new(discovery.look_for(server).await);
        debug!(%server, ?found, "an address was looked for");
        let entry = (Instant::now(), Arc::clone(&found));
        self.shared.found.insert(server.to_owned(), entry);
        Ok(found)
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addresses").finish_non_exhaustive()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.host, self.port)
    }
}

impl Discovery {
    fn new(tls: &Tls, config: &Config) -> Result<Self> {
        let resolver = TokioResolver::builder_tokio()
            .and_then(hickory_resolver::ResolverBuilder::build)
            .map_err(|error| Error::Config(format!("the system's DNS settings: {error}")))?;
        Ok(Self {
            resolver,
            well_known: well_known::Fetcher::new(tls, config.connect_timeout),
        })
    }

    async fn look_for(&self, server: &ServerName) -> Found {
        if let Some(targets) = spelled_out(server) {
            return Found {
                targets,
                delegated: None,
            };
        }
        let Some(delegated) = self.well_known.fetch(server.host()).await else {
            return Found {
                targets: self.by_name(server.host()).await,
                delegated: None,
            };
        };
        let targets = match spelled_out(&delegated) {
            Some(targets) => targets,
            None => self.by_name(delegated.host()).await,
        };
        Found {
            targets,
            delegated: Some(delegated),
        }
    }

    /// SRV records, else the default port of the name itself.
    async fn by_name(&self, host: &str) -> Vec<Target> {
        for service in ["_matrix-fed._tcp", "_matrix._tcp"] {
            let targets = self.service_records(service, host).await;
            if !targets.is_empty() {
                return targets;
            }
        }
        vec![target(host, DEFAULT_PORT, host)]
    }

    async fn service_records(&self, service: &str, host: &str) -> Vec<Target> {
        let Ok(lookup) = self.resolver.srv_lookup(format!("{service}.{host}.")).await else {
            return Vec::new();
        };
        let mut records: Vec<_> = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => {
                    Some((srv.priority, srv.weight, srv.port, srv.target.to_ascii()))
                }
                _ => None,
            })
            .take(MAX_SRV)
            .collect();
        records.sort_by_key(|(priority, weight, ..)| (*priority, u16::MAX - weight));
        records
            .into_iter()
            .map(|(_, _, port, name)| target(name.trim_end_matches('.'), port, host))
            .collect()
    }
}

/// A plain Matrix server that the site names. One that is served at another host than its name says has delegated it: its
/// certificate bears that host's name, and requests address it.
fn plain(server: &ServerName, peer: &PlainPeer) -> Found {
    let targets: Vec<_> = peer
        .endpoints
        .iter()
        .map(|endpoint| {
            let host = endpoint.host();
            let certified = match endpoint.address() {
                Some(_) => server.host(),
                None => &host,
            };
            target(&host, endpoint.port(), certified)
        })
        .collect();
    let first = targets.first().filter(|it| it.certificate_name == it.host);
    let elsewhere = first.filter(|target| target.host != server.host());
    let delegated =
        elsewhere.and_then(|it| ServerName::parse(format!("{}:{}", it.host, it.port)).ok());
    Found { targets, delegated }
}

/// The target of a name that is an address or has a port: nothing needs looking for.
fn spelled_out(server: &ServerName) -> Option<Vec<Target>> {
    let host = server.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    if server.is_ip_literal() {
        let port = server.port().unwrap_or(DEFAULT_PORT);
        return Some(vec![target(address, port, address)]);
    }
    server.port().map(|port| vec![target(host, port, host)])
}

fn target(host: &str, port: u16, certificate_name: &str) -> Target {
    Target {
        host: host.to_owned(),
        port,
        certificate_name: certificate_name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn addresses_and_ports_need_no_looking() {
        assert_eq!(
            spelled_out(server_name!("10.1.2.3")),
            Some(vec![target("10.1.2.3", 8448, "10.1.2.3")])
        );
        assert_eq!(
            spelled_out(server_name!("[::1]:99")),
            Some(vec![target("::1", 99, "::1")])
        );
        assert_eq!(
            spelled_out(server_name!("hs.lu:443")),
            Some(vec![target("hs.lu", 443, "hs.lu")])
        );
        assert_eq!(spelled_out(server_name!("hs.lu")), None);
    }

    #[test]
    fn a_plain_server_is_known_by_the_host_that_serves_it() {
        let found = |endpoint: &str| {
            let peer = PlainPeer {
                endpoints: vec![endpoint.parse().unwrap()],
                authorities: Vec::new(),
            };
            plain(server_name!("hs.lu"), &peer)
        };
        let elsewhere = found("matrix.hs.lu:443");
        assert_eq!(
            elsewhere.targets,
            [target("matrix.hs.lu", 443, "matrix.hs.lu")]
        );
        let delegate = server_name!("matrix.hs.lu:443");
        assert_eq!(elsewhere.delegated.as_deref(), Some(delegate));
        for (endpoint, expected) in [
            ("hs.lu:8448", target("hs.lu", 8448, "hs.lu")),
            ("10.1.2.3:8448", target("10.1.2.3", 8448, "hs.lu")),
        ] {
            let found = found(endpoint);
            assert_eq!((found.targets, found.delegated), (vec![expected], None));
        }
    }
}
