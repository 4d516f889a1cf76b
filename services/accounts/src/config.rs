use std::{fmt, num::NonZeroUsize, thread::available_parallelism, time::Duration};

/// Passwords hashed at a time by default where there are more cores: what bounds the memory that they take.
const MAX_PASSWORD_CONCURRENCY: usize = 4;

/// How accounts come to be and how their sessions live.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may make an account.
    pub registration: Registration,
    /// What a password hash costs.
    pub password_cost: PasswordCost,
    /// How many passwords are hashed at a time. Each takes the cost's memory.
    pub password_concurrency: usize,
    /// The shortest password, in characters.
    pub password_min_length: usize,
    /// How long an access token lives where the client can refresh it.
    pub access_token_lifetime: Duration,
    /// How long an access token lives where the client cannot refresh it; `None`: until logout.
    pub unrefreshable_token_lifetime: Option<Duration>,
    /// How many devices an account may have.
    pub max_devices: usize,
    /// How the server sends e-mails; `None`: it does not.
    pub email: Option<EmailConfig>,
    /// Whether users find all others of this server; if not, only those in a room with them or in a published one.
    pub search_all_users: bool,
}

/// The relay for e-mails.
#[derive(Clone)]
pub struct EmailConfig {
    /// `smtps://host:465`, or `smtp://host:25`, with `?tls=required` for STARTTLS.
    pub relay: String,
    /// User name and password, where the relay wants them.
    pub credentials: Option<(String, String)>,
    /// Who the e-mails are from: `Name <address>`.
    pub from: String,
    /// The page that takes the links in them: the session and token are added as a query.
    pub link: String,
}

impl fmt::Debug for EmailConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailConfig")
            .field("from", &self.from)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// Who may make an account, beside the operator. Everything is off by default.
#[derive(Clone, Debug, Default)]
pub struct Registration {
    /// Anyone.
    pub open: bool,
    /// Whoever knows a registration token.
    pub token: bool,
    /// Guests: anyone, for an account with which they may do little.
    pub guests: bool,
    /// Whoever knows this secret, through `/_synapse/admin/v1/register`.
    pub shared_secret: Option<String>,
}

/// Parameters of Argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            registration: Registration::default(),
            password_cost: PasswordCost::default(),
            password_concurrency: available_parallelism()
                .map_or(1, NonZeroUsize::get)
                .min(MAX_PASSWORD_CONCURRENCY),
            password_min_length: 8,
            access_token_lifetime: Duration::from_hours(1),
            unrefreshable_token_lifetime: None,
            max_devices: 1_000,
            email: None,
            search_all_users: true,
        }
    }
}

impl Default for PasswordCost {
    /// What OWASP recommends: 19 MiB, two passes, one lane.
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            passes: 2,
            lanes: 1,
        }
    }
}

impl PasswordCost {
    /// Next to nothing: for tests alone.
    pub fn cheap() -> Self {
        Self {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
        }
    }
}
