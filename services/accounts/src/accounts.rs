use std::sync::Arc;

use luxchat_store::Store;

use crate::{Config, Result, Session};

/// The accounts of this server. Clones share everything.
#[derive(Clone, Debug)]
pub struct Accounts {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    config: Config,
}

impl Accounts {
    /// Serves the accounts in `store`.
    pub fn new(store: Store, config: Config) -> Self {
        Self {
            inner: Arc::new(Inner { store, config }),
        }
    }

    /// The session that an access token belongs to.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownToken`](crate::Error::UnknownToken), [`ExpiredToken`](crate::Error::ExpiredToken),
    /// [`Locked`](crate::Error::Locked).
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Session>> {
        let _ = (&self.inner.config, &self.inner.store, token);
        Err(crate::Error::UnknownToken)
    }
}
