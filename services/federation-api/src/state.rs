//! What every endpoint works with.

use std::{convert::Infallible, ops::Deref, sync::Arc};

use axum::extract::FromRequestParts;
use http::request::Parts;
use luxchat_accounts::Accounts;
use luxchat_application_services::ApplicationServices;
use luxchat_encryption::Encryption;
use luxchat_federation::{Federation, Turns};
use luxchat_media::Media;
use luxchat_rooms::Rooms;
use luxchat_store::Store;
use luxchat_sync::{Presence, Receipts, Typing};

use crate::{Config, admission::Places, invitations::Invitations};

/// The services behind the server-server API.
#[derive(Clone, Debug)]
pub struct Services {
    /// The database.
    pub store: Store,
    /// Users.
    pub accounts: Accounts,
    /// Rooms and their events.
    pub rooms: Rooms,
    /// Keys and to-device messages.
    pub encryption: Encryption,
    /// Who types.
    pub typing: Typing,
    /// Who is there.
    pub presence: Presence,
    /// What users have read.
    pub receipts: Receipts,
    /// Uploads, and the cache of other servers' media.
    pub media: Media,
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
    transactions: Turns,
    places: Places,
    invitations: Invitations,
}

impl State {
    pub(crate) fn new(services: Services, config: Config) -> Self {
        Self {
            inner: Arc::new(Inner {
                places: Places::new(config.max_concurrent_requests),
                services,
                config,
                transactions: Turns::default(),
                invitations: Invitations::new(),
            }),
        }
    }

    /// Places for requests.
    pub(crate) fn places(&self) -> &Places {
        &self.inner.places
    }

    /// Who works on a transaction: one for each server at a time.
    pub(crate) fn transactions(&self) -> &Turns {
        &self.inner.transactions
    }

    /// How fast peers may invite.
    pub(crate) fn invitations(&self) -> &Invitations {
        &self.inner.invitations
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
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
