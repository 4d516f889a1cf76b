use std::sync::Arc;

use luxchat_store::{TokenSession, UserNid};
use quick_cache::sync::Cache;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use std::sync::{Mutex, PoisonError};

use crate::secret::TokenHash;
use crate::{Accounts, Error, Result, secret};

/// Sessions kept in memory, so that a request costs no query to know whose it is.
const CACHED_SESSIONS: usize = 16_384;

/// Who sent a request, as its access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The user.
    pub user_id: OwnedUserId,
    /// The same, as the store knows them.
    pub user_nid: UserNid,
    /// The device that the token was given to.
    pub device_id: OwnedDeviceId,
    /// May administer this server.
    pub is_admin: bool,
    /// May read, leave rooms and redact own messages, but not speak.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#account-suspension).
    pub is_suspended: bool,
    /// May only log out.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#account-locking).
    pub is_locked: bool,
    /// May do only what guests may.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#guest-access).
    pub is_guest: bool,
    /// When the access token ends, in milliseconds since the Unix epoch; `None`: with the device.
    pub expires_ts: Option<u64>,
    /// The id of the application service that acts as the user, where it is not the user.
    pub service: Option<Arc<str>>,
}

impl Session {
    /// Whether the request is made with a device. An application service need not name one: then `device_id` is empty.
    pub fn has_device(&self) -> bool {
        !self.device_id.as_str().is_empty()
    }
}

impl Accounts {
    /// The session that an access token belongs to. The first use of a refreshed token ends the one it replaced.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownToken`], [`Error::ExpiredToken`], [`Error::Locked`].
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Session>> {
        let session = self.authenticate_to_leave(token).await?;
        if session.is_locked {
            return Err(Error::Locked);
        }
        Ok(session)
    }

    /// The same, but for those who only want to log out, which a locked account may.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownToken`], [`Error::ExpiredToken`].
    pub async fn authenticate_to_leave(&self, token: &str) -> Result<Arc<Session>> {
        let hash = secret::hash(token);
        if let Some(session) = self.inner.sessions.cache.get(&hash) {
            self.check_expiry(&session)?;
            return Ok(session);
        }
        let age = self.inner.sessions.age();
        let found = self
            .store()
            .read(move |tx| tx.session_by_access(&hash))
            .await?
            .ok_or(Error::UnknownToken)?;
        let (pair, is_unconfirmed) = (found.pair, found.is_unconfirmed);
        let session = Arc::new(Session::from(found));
        self.check_expiry(&session)?;
        if is_unconfirmed {
            self.store()
                .write::<_, Error, _>(move |tx| Ok(tx.confirm_token_pair(pair)?))
                .await?;
            self.inner
                .sessions
                .forget_device(session.user_nid, &session.device_id);
        } else {
            self.inner.sessions.remember(hash, &session, age);
        }
        Ok(session)
    }

    /// The session of an application service that acts as a user, with one of their devices or with none.
    /// [Spec](https://spec.matrix.org/v1.19/application-service-api/#identity-assertion).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`], [`Error::Deactivated`], [`Error::NoSuchDevice`].
    pub async fn session_for_service(
        &self,
        service: Arc<str>,
        user_id: &UserId,
        device_id: Option<OwnedDeviceId>,
    ) -> Result<Arc<Session>> {
        let account = self.account(user_id).await?;
        if account.is_deactivated {
            return Err(Error::Deactivated);
        }
        if let Some(id) = device_id.clone() {
            let user = account.user_nid;
            let found = self.store().read(move |tx| tx.device(user, &id)).await?;
            found.ok_or(Error::NoSuchDevice)?;
        }
        Ok(Arc::new(Session {
            user_id: account.user_id,
            user_nid: account.user_nid,
            device_id: device_id.unwrap_or_else(|| OwnedDeviceId::from("")),
            is_admin: account.is_admin,
            is_suspended: account.is_suspended,
            is_locked: account.is_locked,
            is_guest: false,
            expires_ts: None,
            service: Some(service),
        }))
    }

    fn check_expiry(&self, session: &Session) -> Result<()> {
        let expired = session
            .expires_ts
            .is_some_and(|end| end <= self.store().clock().now_ms());
        if expired {
            return Err(Error::ExpiredToken);
        }
        Ok(())
    }
}

impl From<TokenSession> for Session {
    fn from(found: TokenSession) -> Self {
        Self {
            user_id: found.user_id,
            user_nid: found.user_nid,
            device_id: found.device_id,
            is_admin: found.is_admin,
            is_suspended: found.is_suspended,
            is_locked: found.is_locked,
            is_guest: found.is_guest,
            expires_ts: found.access_expires_ts,
            service: None,
        }
    }
}

/// Sessions by the hash of their access token.
#[derive(Debug)]
pub(crate) struct Sessions {
    cache: Cache<TokenHash, Arc<Session>>,
    /// How often sessions were forgotten: what was read from the store before the last time may be stale.
    age: Mutex<u64>,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self {
            cache: Cache::new(CACHED_SESSIONS),
            age: Mutex::new(0),
        }
    }

    /// Forgets a device's sessions. Call it after the change is committed.
    pub(crate) fn forget_device(&self, user: UserNid, device_id: &DeviceId) {
        self.forget(|session| session.user_nid == user && session.device_id == device_id);
    }

    /// Forgets all sessions of a user. Call it after the change is committed.
    pub(crate) fn forget_user(&self, user: UserNid) {
        self.forget(|session| session.user_nid == user);
    }

    fn forget(&self, matches: impl Fn(&Session) -> bool) {
        let mut age = self.age.lock().unwrap_or_else(PoisonError::into_inner);
        *age += 1;
        self.cache.retain(|_, session| !matches(session));
    }

    fn age(&self) -> u64 {
        *self.age.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a session that was read at `age`, unless any was forgotten meanwhile.
    fn remember(&self, hash: TokenHash, session: &Arc<Session>, age: u64) {
        let now = self.age.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == age {
            self.cache.insert(hash, Arc::clone(session));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewDevice, testing::Fixture};

    #[tokio::test]
    async fn an_unknown_token_is_nobodys() {
        let fixture = Fixture::new();
        for token in ["", "lxa_nonsense"] {
            let refused = fixture.accounts.authenticate(token).await;
            assert!(matches!(refused, Err(Error::UnknownToken)));
        }
    }

    #[tokio::test]
    async fn a_cached_session_ends_with_its_logout() {
        let fixture = Fixture::new();
        let login = fixture.alice().await;
        let session = fixture.session(&login).await;
        let other = fixture.log_in("alice", NewDevice::default()).await;
        assert!(Arc::ptr_eq(&session, &fixture.session(&login).await));

        fixture.accounts.logout(&session).await.unwrap();
        let ended = fixture.accounts.authenticate(&login.access_token).await;
        assert!(matches!(ended, Err(Error::UnknownToken)));
        let other_session = fixture.session(&other).await;

        fixture.accounts.logout_all(&other_session).await.unwrap();
        let ended = fixture.accounts.authenticate(&other.access_token).await;
        assert!(matches!(ended, Err(Error::UnknownToken)));
    }

    #[tokio::test]
    async fn a_lock_holds_while_it_lasts() {
        let fixture = Fixture::new();
        let login = fixture.alice().await;
        let session = fixture.session(&login).await;
        let lock = async |locked| {
            fixture
                .accounts
                .set_locked(&session.user_id, locked)
                .await
                .unwrap();
        };
        lock(true).await;
        let locked = fixture.accounts.authenticate(&login.access_token).await;
        assert!(matches!(locked, Err(Error::Locked)));
        let leaving = fixture
            .accounts
            .authenticate_to_leave(&login.access_token)
            .await;
        assert!(leaving.unwrap().is_locked);
        lock(false).await;
        assert_eq!(fixture.session(&login).await, session);
    }

    #[tokio::test]
    async fn a_suspension_shows_at_once() {
        let fixture = Fixture::new();
        let login = fixture.alice().await;
        let session = fixture.session(&login).await;
        assert!(!session.is_suspended);
        let suspended = fixture.accounts.set_suspended(&session.user_id, true);
        suspended.await.unwrap();
        assert!(fixture.session(&login).await.is_suspended);
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let sessions = Sessions::new();
        let session = Arc::new(Session {
            user_id: ruma::owned_user_id!("@alice:example.org"),
            user_nid: UserNid(1),
            device_id: "A".into(),
            is_admin: false,
            is_suspended: false,
            is_locked: false,
            is_guest: false,
            expires_ts: None,
            service: None,
        });
        let age = sessions.age();
        sessions.forget_user(UserNid(2));
        sessions.remember([1; 32], &session, age);
        assert!(sessions.cache.get(&[1; 32]).is_none());
        sessions.remember([1; 32], &session, sessions.age());
        assert!(sessions.cache.get(&[1; 32]).is_some());
    }
}
