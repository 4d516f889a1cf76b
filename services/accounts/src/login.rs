//! Logging in, and the tokens that come of it.

use std::time::Duration;

use luxchat_store::{NewTokenPair, UserNid, WriteTx};
use ruma::{
    DeviceId, IdParseError, OwnedDeviceId, OwnedUserId, ServerName, UserId,
    api::client::uiaa::UserIdentifier,
};

use crate::{Accounts, Error, Result, secret};

/// The longest device id and device name, in bytes.
const MAX_DEVICE_TEXT: usize = 255;

/// The device that a client logs in.
#[derive(Clone, Debug, Default)]
pub struct NewDevice {
    /// Its id, where the client has one already; else the server makes one.
    pub device_id: Option<OwnedDeviceId>,
    /// What to call it where it is new.
    pub display_name: Option<String>,
    /// Whether the client can refresh its access token.
    pub refresh: bool,
}

/// A session just made or refreshed, with the only copy of its tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
    /// Proves who the client is.
    pub access_token: String,
    /// Gets the next access token.
    pub refresh_token: Option<String>,
    /// How long the access token lives; `None`: until logout.
    pub expires_in: Option<Duration>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("user_id", &self.user_id)
            .field("device_id", &self.device_id)
            .finish_non_exhaustive()
    }
}

impl Accounts {
    /// Logs in with a user id or its local part, and a password.
    ///
    /// # Errors
    ///
    /// [`Error::WrongCredentials`], [`Error::TryLater`]; with the right password also [`Error::Locked`] and
    /// [`Error::TooMany`]. A deactivated account says so to anyone.
    pub async fn login(&self, user: &str, password: String, device: NewDevice) -> Result<Login> {
        let user_id =
            local_user_id(user, self.store().server_name()).map_err(|_| Error::WrongCredentials)?;
        self.inner.attempts.begin(&user_id, self.now_ms())?;
        let account = match self.account(&user_id).await {
            Ok(account) => Some(account),
            Err(Error::NoSuchAccount) => None,
            Err(error) => return Err(error),
        };
        let hash = account
            .as_ref()
            .and_then(|account| account.password_hash.clone());
        let is_right = self.inner.passwords.verify(password, hash).await?;
        let account = account.ok_or(Error::WrongCredentials)?;
        if account.is_deactivated {
            return Err(Error::Deactivated);
        }
        if !is_right {
            return Err(Error::WrongCredentials);
        }
        self.inner.attempts.succeeded(&user_id, self.now_ms());
        if account.is_locked {
            return Err(Error::Locked);
        }
        self.start_session(account.user_nid, account.user_id, device)
            .await
    }

    /// Makes a session for a user who has proven who they are. A device that was there keeps its keys and loses its old
    /// tokens.
    pub(crate) async fn start_session(
        &self,
        user: UserNid,
        user_id: OwnedUserId,
        device: NewDevice,
    ) -> Result<Login> {
        check_device(&device)?;
        let device_id = device.device_id.unwrap_or_else(DeviceId::new);
        let tokens = self.new_tokens(device.refresh);
        let (login, max_devices) = (
            tokens.login(user_id, device_id),
            self.inner.config.max_devices,
        );
        let id = login.device_id.clone();
        self.store()
            .write(move |tx| {
                if tx.insert_device(user, &id, device.display_name.as_deref())? {
                    if tx.device_count(user)? > max_devices {
                        return Err(Error::TooMany("devices"));
                    }
                } else {
                    tx.delete_token_pairs(user, &id)?;
                }
                tokens.store(tx, user, &id, None)
            })
            .await?;
        self.inner.sessions.forget_device(user, &login.device_id);
        Ok(login)
    }

    /// Trades a refresh token for new tokens. The old ones stay valid until the new ones are first used, so that a client
    /// that lost the answer can ask again.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens).
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRefreshToken`], [`Error::Locked`].
    pub async fn refresh(&self, refresh_token: &str) -> Result<Login> {
        let hash = secret::hash(refresh_token);
        let tokens = self.new_tokens(true);
        let (found, tokens) = self
            .store()
            .write(move |tx| {
                let found = tx
                    .session_by_refresh(&hash)?
                    .ok_or(Error::UnknownRefreshToken)?;
                if found.is_locked {
                    return Err(Error::Locked);
                }
                if found.is_unconfirmed {
                    tx.confirm_token_pair(found.pair)?;
                }
                tokens.store(tx, found.user_nid, &found.device_id, Some(found.pair))?;
                Ok((found, tokens))
            })
            .await?;
        self.inner
            .sessions
            .forget_device(found.user_nid, &found.device_id);
        Ok(tokens.login(found.user_id, found.device_id))
    }

    fn new_tokens(&self, refresh: bool) -> Tokens {
        let lifetime = if refresh {
            Some(self.inner.config.access_token_lifetime)
        } else {
            self.inner.config.unrefreshable_token_lifetime
        };
        let expires_ts = lifetime.map(|lifetime| {
            let ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
            // SQLite's integers are signed.
            self.now_ms().saturating_add(ms).min(i64::MAX as u64)
        });
        Tokens {
            access: secret::token("lxa"),
            refresh: refresh.then(|| secret::token("lxr")),
            lifetime,
            expires_ts,
        }
    }
}

/// The name in an identifier, where it is of the one type that accounts here have.
pub(crate) fn matrix_identifier(identifier: &UserIdentifier) -> Option<&str> {
    match identifier {
        UserIdentifier::Matrix(matrix) => Some(&matrix.user),
        _ => None,
    }
}

/// The user id that a person means by a user id or a local part, in whatever case.
pub(crate) fn local_user_id(
    name: &str,
    server_name: &ServerName,
) -> Result<OwnedUserId, IdParseError> {
    if !name.starts_with('@') {
        return UserId::parse_with_server_name(name.to_lowercase(), server_name);
    }
    let user_id = UserId::parse(name)?;
    if user_id.server_name() != server_name {
        return Ok(user_id);
    }
    UserId::parse_with_server_name(user_id.localpart().to_lowercase(), server_name)
}

#[derive(Clone)]
struct Tokens {
    access: String,
    refresh: Option<String>,
    lifetime: Option<Duration>,
    expires_ts: Option<u64>,
}

impl Tokens {
    fn store(
        &self,
        tx: &mut WriteTx<'_>,
        user: UserNid,
        device_id: &DeviceId,
        replaces: Option<luxchat_store::PairNid>,
    ) -> Result<()> {
        let refresh_hash = self.refresh.as_deref().map(secret::hash);
        tx.insert_token_pair(NewTokenPair {
            user,
            device_id,
            access_hash: &secret::hash(&self.access),
            access_expires_ts: self.expires_ts,
            refresh_hash: refresh_hash.as_ref(),
            replaces,
        })?;
        Ok(())
    }

    fn login(&self, user_id: OwnedUserId, device_id: OwnedDeviceId) -> Login {
        Login {
            user_id,
            device_id,
            access_token: self.access.clone(),
            refresh_token: self.refresh.clone(),
            expires_in: self.lifetime,
        }
    }
}

pub(crate) fn check_device(device: &NewDevice) -> Result<()> {
    let id = device.device_id.as_ref();
    if id.is_some_and(|id| id.as_str().is_empty() || id.as_str().len() > MAX_DEVICE_TEXT) {
        return Err(Error::Invalid {
            what: "device id",
            why: format!("must be between 1 and {MAX_DEVICE_TEXT} bytes"),
        });
    }
    check_device_name(device.display_name.as_deref())
}

pub(crate) fn check_device_name(name: Option<&str>) -> Result<()> {
    if name.is_some_and(|name| name.len() > MAX_DEVICE_TEXT) {
        return Err(Error::TooLarge("device name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixture, PASSWORD};

    fn refreshing(device_id: &str) -> NewDevice {
        NewDevice {
            device_id: Some(device_id.into()),
            refresh: true,
            ..NewDevice::default()
        }
    }

    #[tokio::test]
    async fn a_user_logs_in_by_any_form_of_their_name() {
        let fixture = Fixture::new();
        fixture.create("alice").await;
        for name in ["alice", "Alice", "@alice:example.org", "@ALICE:example.org"] {
            let login = fixture.log_in(name, NewDevice::default()).await;
            assert_eq!(fixture.session(&login).await.user_id, "@alice:example.org");
            assert_eq!((&login.refresh_token, login.expires_in), (&None, None));
        }
    }

    #[tokio::test]
    async fn a_wrong_name_and_a_wrong_password_look_the_same() {
        let fixture = Fixture::new();
        fixture.create("alice").await;
        for (name, password) in [
            ("alice", "wrong horse"),
            ("bob", PASSWORD),
            ("@alice:elsewhere.org", PASSWORD),
            ("@:", PASSWORD),
            ("", PASSWORD),
        ] {
            let refused = fixture
                .accounts
                .login(name, password.to_owned(), NewDevice::default())
                .await;
            assert!(matches!(refused, Err(Error::WrongCredentials)), "{name}");
        }
    }

    #[tokio::test]
    async fn logging_a_device_in_again_ends_its_old_token() {
        let fixture = Fixture::new();
        fixture.create("alice").await;
        let first = fixture.log_in("alice", refreshing("PHONE")).await;
        let session = fixture.session(&first).await;
        let second = fixture.log_in("alice", refreshing("PHONE")).await;
        let old = fixture.accounts.authenticate(&first.access_token).await;
        assert!(matches!(old, Err(Error::UnknownToken)));
        assert_eq!(fixture.session(&second).await.device_id, "PHONE");
        assert_eq!(fixture.accounts.devices(&session).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_account_has_only_so_many_devices() {
        let fixture = Fixture::new();
        fixture.create("alice").await;
        for device in ["A", "B", "C", "D", "A"] {
            fixture.log_in("alice", refreshing(device)).await;
        }
        let refused = fixture
            .accounts
            .login("alice", PASSWORD.to_owned(), refreshing("E"))
            .await;
        assert!(matches!(refused, Err(Error::TooMany("devices"))));
    }

    #[tokio::test]
    async fn a_device_id_has_bounds() {
        let fixture = Fixture::new();
        fixture.create("alice").await;
        for id in ["", &"x".repeat(256)] {
            let refused = fixture
                .accounts
                .login("alice", PASSWORD.to_owned(), refreshing(id))
                .await;
            assert!(matches!(refused, Err(Error::Invalid { .. })));
        }
    }

    #[tokio::test]
    async fn an_expired_token_is_refreshed() {
        let fixture = Fixture::new();
        fixture.create("alice").await;
        let login = fixture.log_in("alice", refreshing("PHONE")).await;
        fixture.session(&login).await;
        fixture.pass(login.expires_in.unwrap());
        let expired = fixture.accounts.authenticate(&login.access_token).await;
        assert!(matches!(expired, Err(Error::ExpiredToken)));

        let token = login.refresh_token.unwrap();
        let refreshed = fixture.accounts.refresh(&token).await.unwrap();
        assert_eq!(refreshed.device_id, "PHONE");
        assert_eq!(fixture.session(&refreshed).await.device_id, "PHONE");
    }

    #[tokio::test]
    async fn the_old_pair_lives_until_the_new_one_is_used() {
        let fixture = Fixture::new();
        fixture.create("alice").await;
        let first = fixture.log_in("alice", refreshing("PHONE")).await;
        let token = first.refresh_token.clone().unwrap();

        // The client loses the first answer and asks again.
        let lost = fixture.accounts.refresh(&token).await.unwrap();
        let second = fixture.accounts.refresh(&token).await.unwrap();
        fixture.session(&first).await;
        let dead = fixture.accounts.authenticate(&lost.access_token).await;
        assert!(matches!(dead, Err(Error::UnknownToken)));

        fixture.session(&second).await;
        let old = fixture.accounts.authenticate(&first.access_token).await;
        assert!(matches!(old, Err(Error::UnknownToken)));
        let reused = fixture.accounts.refresh(&token).await;
        assert!(matches!(reused, Err(Error::UnknownRefreshToken)));
        fixture.session(&second).await;
    }

    #[tokio::test]
    async fn refreshing_with_the_new_token_ends_the_old_one_as_well() {
        let fixture = Fixture::new();
        fixture.create("alice").await;
        let first = fixture.log_in("alice", refreshing("PHONE")).await;
        let first_token = first.refresh_token.unwrap();
        let second = fixture.accounts.refresh(&first_token).await.unwrap();
        let third = fixture
            .accounts
            .refresh(&second.refresh_token.unwrap())
            .await
            .unwrap();
        let old = fixture.accounts.refresh(&first_token).await;
        assert!(matches!(old, Err(Error::UnknownRefreshToken)));
        fixture.session(&third).await;
    }
}
