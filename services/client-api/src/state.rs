//! What every endpoint works with.

use std::{convert::Infallible, ops::Deref, sync::Arc};

use axum::extract::FromRequestParts;
use http::request::Parts;
use luxchat_accounts::Accounts;
use luxchat_application_services::ApplicationServices;
use luxchat_encryption::Encryption;
use luxchat_federation::Federation;
use luxchat_media::Media;
use luxchat_previews::Previews;
use luxchat_push::Push;
use luxchat_rooms::Rooms;
use luxchat_store::Store;
use luxchat_sync::{Presence, Receipts, Sync, Typing};

use crate::{Config, admission::Places, rate::Limiter};

/// The services behind the client API.
#[derive(Clone, Debug)]
pub struct Services {
    /// The database.
    pub store: Store,
    /// Users and sessions.
    pub accounts: Accounts,
    /// Events and state.
    pub rooms: Rooms,
    /// Keys, backups and to-device messages.
    pub encryption: Encryption,
    /// What changed for a user, and what they may read.
    pub sync: Sync,
    /// What users have read.
    pub receipts: Receipts,
    /// Who is typing.
    pub typing: Typing,
    /// Who is there.
    pub presence: Presence,
    /// Uploads, and the cache of other servers' media.
    pub media: Media,
    /// What web pages say of themselves, where the site wants that.
    pub previews: Option<Previews>,
    /// Counts, notifications and pushers.
    pub push: Push,
    /// Programs that act for many users.
    pub application_services: ApplicationServices,
    /// Other servers.
    pub federation: Federation,
}

/// The services and the configuration, as endpoints take them: `async fn get(state: State, ...)`. Clones are cheap.
#[derive(Clone, Debug)]
pub struct State {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    services: Services,
    config: Config,
    limiter: Option<Limiter>,
    places: Places,
    notices: tokio::sync::Mutex<()>,
}

impl State {
    pub(crate) fn new(services: Services, config: Config) -> Self {
        let limiter = config.rate_limits.map(Limiter::new);
        let places = Places::new(config.max_concurrent_requests, config.max_concurrent_syncs);
        Self {
            inner: Arc::new(Inner {
                services,
                config,
                limiter,
                places,
                notices: tokio::sync::Mutex::default(),
            }),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(crate) fn limiter(&self) -> Option<&Limiter> {
        self.inner.limiter.as_ref()
    }

    /// Held while the server speaks to a user, so that two notices do not make two rooms.
    pub(crate) fn notices(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.notices
    }

    pub(crate) fn places(&self) -> &Places {
        &self.inner.places
    }
}

impl Deref for State {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.inner.services
    }
}

impl FromRequestParts<Self> for State {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &Self) -> Result<Self, Infallible> {
        Ok(state.clone())
    }
}
