use std::sync::Arc;

use luxchat_store::{Account, Store, UserNid};
use ruma::{OwnedUserId, UserId};

use crate::{
    Config, Error, Result,
    attempts::Attempts,
    email::{Proofs, Relay},
    interactive::Interactions,
    last_seen::LastSeen,
    login_token::LoginTokens,
    openid::OpenIdTokens,
    password::Passwords,
    session::Sessions,
    shared_secret::Nonces,
};

/// The accounts of this server. Clones share everything.
#[derive(Clone, Debug)]
pub struct Accounts {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) config: Config,
    pub(crate) passwords: Passwords,
    pub(crate) sessions: Sessions,
    pub(crate) interactions: Interactions,
    pub(crate) nonces: Nonces,
    pub(crate) login_tokens: LoginTokens,
    /// `None`: the server sends no e-mails.
    pub(crate) relay: Option<Relay>,
    pub(crate) proofs: Proofs,
    pub(crate) open_id: OpenIdTokens,
    pub(crate) last_seen: LastSeen,
    pub(crate) attempts: Attempts,
}

impl Accounts {
    /// Serves the accounts in `store`.
    ///
    /// # Errors
    ///
    /// [`Error::Hashing`] where the password cost is out of Argon2's bounds, [`Error::Invalid`] for the e-mail relay.
    pub fn new(store: Store, config: Config) -> Result<Self> {
        let passwords = Passwords::new(&config)?;
        let relay = config.email.as_ref().map(Relay::new).transpose()?;
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                config,
                passwords,
                sessions: Sessions::new(),
                interactions: Interactions::default(),
                nonces: Nonces::default(),
                login_tokens: LoginTokens::default(),
                relay,
                proofs: Proofs::default(),
                open_id: OpenIdTokens::default(),
                last_seen: LastSeen::default(),
                attempts: Attempts::default(),
            }),
        })
    }

    /// How accounts come to be here.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.inner.store.clock().now_ms()
    }

    /// A user's account.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`], for users of other servers too.
    pub async fn account(&self, user_id: &UserId) -> Result<Account> {
        let user_id = user_id.to_owned();
        self.store()
            .read(move |tx| tx.account(&user_id))
            .await?
            .ok_or(Error::NoSuchAccount)
    }

    /// Accounts in the order of their user ids, after `after`, at most `limit`.
    pub async fn list(&self, after: Option<OwnedUserId>, limit: u32) -> Result<Vec<Account>> {
        let read = self
            .store()
            .read(move |tx| tx.accounts(after.as_deref(), limit));
        Ok(read.await?)
    }

    /// Locks an account: its sessions stay, and answer `M_USER_LOCKED` until it is unlocked.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`].
    pub async fn set_locked(&self, user_id: &UserId, locked: bool) -> Result<()> {
        let user = self.account(user_id).await?.user_nid;
        self.change(user, move |tx| tx.set_locked(user, locked))
            .await
    }

    /// Suspends an account: it may read and leave, but not speak.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`].
    pub async fn set_suspended(&self, user_id: &UserId, suspended: bool) -> Result<()> {
        let user = self.account(user_id).await?.user_nid;
        self.change(user, move |tx| tx.set_suspended(user, suspended))
            .await
    }

    /// Makes an account an administrator's, or no longer one.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`].
    pub async fn set_admin(&self, user_id: &UserId, is_admin: bool) -> Result<()> {
        let user = self.account(user_id).await?.user_nid;
        self.change(user, move |tx| tx.set_admin(user, is_admin))
            .await
    }

    /// Commits a change that its user's sessions must notice.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        user: UserNid,
        work: impl FnOnce(&mut luxchat_store::WriteTx<'_>) -> luxchat_store::Result<T> + Send + 'static,
    ) -> Result<T> {
        let result = self.store().write(work).await?;
        self.inner.sessions.forget_user(user);
        Ok(result)
    }
}
