use std::{fmt, net::IpAddr, num::NonZeroU32, time::Duration};

use luxchat_http::Limits;
use ruma::OwnedUserId;

/// How the client API is served.
#[derive(Clone, Debug)]
pub struct Config {
    /// The URL at which clients reach this server, for `/.well-known/matrix/client`; `None` where that file lies
    /// elsewhere.
    pub base_url: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// What a request body may be at most.
    pub limits: Limits,
    /// How many requests are served at a time, syncs aside; more are told to come back.
    pub max_concurrent_requests: usize,
    /// How many syncs wait at a time; more are told to come back.
    pub max_concurrent_syncs: usize,
    /// How fast clients may ask; `None`: as fast as they can.
    pub rate_limits: Option<RateLimits>,
    /// Whom users can ask for help, for `/.well-known/matrix/support`.
    pub support: Option<Support>,
    /// The server that relays calls, if there is one.
    pub turn: Option<Turn>,
    /// Whether a request without a token may have other servers asked for their users' profiles. The specification lets
    /// it; then anybody can make this server send requests.
    pub anonymous_profile_lookups: bool,
    /// As whom the server itself speaks to its users; `None`: it does not.
    pub server_notices: Option<ServerNotices>,
    /// Whether administrators may use the API under `/_synapse/admin` with their access tokens.
    pub synapse_admin_api: bool,
}

/// As whom and where the server speaks to its users.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#server-notices).
#[derive(Clone, Debug)]
pub struct ServerNotices {
    /// A user whose account there is.
    pub user_id: OwnedUserId,
    /// What the room is called.
    pub room_name: String,
}

/// How many requests a client may make: as a burst, and in each second after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// For each user, all endpoints together.
    pub user: Rate,
    /// For each address, for requests without a valid token.
    pub address: Rate,
    /// For each address, for logins and registrations: what a guesser of passwords may do.
    pub login: Rate,
}

/// Whom users can ask for help.
#[derive(Clone, Debug, Default)]
pub struct Support {
    /// The e-mail address of those who run the server.
    pub email: Option<String>,
    /// Their Matrix id.
    pub matrix_id: Option<ruma::OwnedUserId>,
    /// The e-mail address for reports of weaknesses.
    pub security_email: Option<String>,
    /// The address of a page with more.
    pub page: Option<String>,
}

/// A TURN server that shares a secret with this one.
#[derive(Clone)]
pub struct Turn {
    /// Its addresses, as `turn:` and `turns:` URIs.
    pub uris: Vec<String>,
    /// The secret by which it knows the passwords that this server gives out.
    pub shared_secret: String,
    /// How long such a password can be used.
    pub lifetime: Duration,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("uris", &self.uris)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests that may come at once.
    pub burst: NonZeroU32,
    /// After how long another one may come.
    pub every: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: None,
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            max_concurrent_requests: 1_024,
            max_concurrent_syncs: 20_000,
            rate_limits: Some(RateLimits::default()),
            support: None,
            turn: None,
            server_notices: None,
            synapse_admin_api: false,
            anonymous_profile_lookups: false,
        }
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            user: Rate::new(400, 100),
            address: Rate::new(200, 50),
            login: Rate::new(30, 2),
        }
    }
}

impl Rate {
    /// `burst` at once, then `per_second`; zero counts as one.
    pub fn new(burst: u32, per_second: u32) -> Self {
        Self {
            burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN),
            every: Duration::from_secs(1) / per_second.max(1),
        }
    }
}
