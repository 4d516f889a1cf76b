//! Making accounts.

use luxchat_store::{PUSH_RULES, RegistrationToken, default_push_rules, push_rules_content};
use ruma::{OwnedUserId, UserId};

use crate::{Accounts, Error, Login, NewDevice, RegistrationProof, Result};

/// The longest registration token, in bytes.
const MAX_TOKEN: usize = 64;

/// An account to make.
#[derive(Clone, Default)]
pub struct NewAccount {
    /// The local part of its user id; `None`: the server makes one up.
    pub username: Option<String>,
    /// Its password; `None`: no login by password.
    pub password: Option<String>,
    /// May administer this server.
    pub is_admin: bool,
}

impl std::fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAccount")
            .field("username", &self.username)
            .field("is_admin", &self.is_admin)
            .finish_non_exhaustive()
    }
}

impl Accounts {
    /// Makes an account for whoever has proven that they may, and logs it in where `device` is given.
    ///
    /// # Errors
    ///
    /// [`Error::UserInUse`], [`Error::InvalidUsername`], [`Error::WeakPassword`]; [`Error::InvalidRegistrationToken`] where
    /// the token was used up meanwhile.
    pub async fn register(
        &self,
        account: NewAccount,
        proof: RegistrationProof,
    ) -> Result<OwnedUserId> {
        self.create_with(account, proof.token).await
    }

    /// Makes an account on the operator's word.
    ///
    /// # Errors
    ///
    /// [`Error::UserInUse`], [`Error::InvalidUsername`], [`Error::WeakPassword`].
    pub async fn create(&self, account: NewAccount) -> Result<OwnedUserId> {
        self.create_with(account, None).await
    }

    /// Makes an account without a password for a user of an application service, whose names are its own business.
    ///
    /// # Errors
    ///
    /// [`Error::UserInUse`], [`Error::InvalidUsername`] for another server's user.
    pub async fn create_for_service(&self, user_id: &UserId) -> Result<()> {
        if user_id.server_name() != self.store().server_name() {
            return Err(Error::InvalidUsername("it is of another server"));
        }
        user_id.validate_historical().map_err(|_| {
            Error::InvalidUsername("it is too long, or has characters that no name may have")
        })?;
        self.insert(user_id.to_owned(), None, false, None).await
    }

    /// Logs in an account that was just made.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`], [`Error::Invalid`] for the device.
    pub async fn login_new(&self, user_id: &UserId, device: NewDevice) -> Result<Login> {
        let account = self.account(user_id).await?;
        self.start_session(account.user_nid, account.user_id, device)
            .await
    }

    /// Logs in a user of an application service, on the service's word.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAccount`], [`Error::Deactivated`], [`Error::Locked`], [`Error::Invalid`] for the device.
    pub async fn login_of_service(&self, user_id: &UserId, device: NewDevice) -> Result<Login> {
        let account = self.account(user_id).await?;
        if account.is_deactivated {
            return Err(Error::Deactivated);
        }
        if account.is_locked {
            return Err(Error::Locked);
        }
        self.start_session(account.user_nid, account.user_id, device)
            .await
    }

    /// Makes sure that people can register at all: nobody else needs to know which names are taken.
    ///
    /// # Errors
    ///
    /// [`Error::RegistrationDisabled`].
    pub fn check_registration_is_possible(&self) -> Result<()> {
        let policy = &self.inner.config.registration;
        if policy.open || policy.token {
            Ok(())
        } else {
            Err(Error::RegistrationDisabled)
        }
    }

    /// Makes sure that a name is valid and free.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUsername`], [`Error::UserInUse`].
    pub async fn check_username(&self, username: &str) -> Result<()> {
        let user_id = self.new_user_id(username)?;
        match self.account(&user_id).await {
            Ok(_) => Err(Error::UserInUse),
            Err(Error::NoSuchAccount) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that a password may be set.
    ///
    /// # Errors
    ///
    /// [`Error::WeakPassword`].
    pub fn check_password(&self, password: &str) -> Result<()> {
        self.inner.passwords.check_strength(password)
    }

    /// Whether a registration token can be used now.
    pub async fn is_registration_token_valid(&self, token: &str) -> Result<bool> {
        let token = token.to_owned();
        let found = self
            .store()
            .read(move |tx| tx.registration_token(&token))
            .await?;
        Ok(found.is_some_and(|token| token.is_valid_at(self.now_ms())))
    }

    /// Makes a registration token, of the given name or of a made-up one.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where the name is taken or is not one.
    pub async fn create_registration_token(
        &self,
        token: Option<String>,
        uses_allowed: Option<u32>,
        expires_ts: Option<u64>,
    ) -> Result<RegistrationToken> {
        let invalid = |why: &str| Error::Invalid {
            what: "registration token",
            why: why.to_owned(),
        };
        let token = token.unwrap_or_else(|| crate::secret::token("lxi"));
        let is_opaque = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(is_opaque) {
            return Err(invalid(
                "must be up to 64 of A-Z, a-z, 0-9, '.', '_', '~', '-'",
            ));
        }
        let name = token.clone();
        let inserted = self
            .store()
            .write(move |tx| tx.insert_registration_token(&name, uses_allowed, expires_ts))
            .await?;
        if !inserted {
            return Err(invalid("there is one of that name"));
        }
        Ok(RegistrationToken {
            token,
            uses_allowed,
            uses: 0,
            expires_ts,
        })
    }

    async fn create_with(&self, account: NewAccount, token: Option<String>) -> Result<OwnedUserId> {
        let user_id = match &account.username {
            Some(username) => self.new_user_id(username)?,
            None => UserId::new(self.store().server_name()),
        };
        let hash = match account.password {
            Some(password) => {
                self.inner.passwords.check_strength(&password)?;
                Some(self.inner.passwords.hash(password).await?)
            }
            None => None,
        };
        self.insert(user_id.clone(), hash, account.is_admin, token)
            .await?;
        Ok(user_id)
    }

    async fn insert(
        &self,
        user_id: OwnedUserId,
        password_hash: Option<String>,
        is_admin: bool,
        token: Option<String>,
    ) -> Result<()> {
        let rules = push_rules_content(default_push_rules(&user_id))?;
        self.store()
            .write(move |tx| {
                let user = tx
                    .insert_account(&user_id, password_hash.as_deref(), is_admin)?
                    .ok_or(Error::UserInUse)?;
                if let Some(token) = token
                    && !tx.use_registration_token(&token)?
                {
                    return Err(Error::InvalidRegistrationToken);
                }
                tx.set_account_data(user, PUSH_RULES, &rules)?;
                Ok(())
            })
            .await
    }

    /// The user id of a new account. Upper case becomes lower, as people write their names.
    fn new_user_id(&self, username: &str) -> Result<OwnedUserId> {
        let server_name = self.store().server_name();
        let username = username.to_lowercase();
        let is_allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._=-/+".contains(&byte)
        };
        if username.is_empty() || !username.bytes().all(is_allowed) {
            return Err(Error::InvalidUsername(
                "use a-z, 0-9, '.', '_', '=', '-', '/' and '+' only",
            ));
        }
        let too_long = |_| Error::InvalidUsername("it is too long");
        let user_id = UserId::parse_with_server_name(username, server_name).map_err(too_long)?;
        user_id.validate_strict().map_err(too_long)?;
        Ok(user_id)
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;
    use crate::{
        Registration,
        testing::{Fixture, PASSWORD},
    };

    fn named(username: &str) -> NewAccount {
        NewAccount {
            username: Some(username.to_owned()),
            password: Some(PASSWORD.to_owned()),
            is_admin: false,
        }
    }

    #[tokio::test]
    async fn a_name_is_given_once_and_never_again() {
        let fixture = Fixture::new();
        fixture.accounts.create(named("Alice")).await.unwrap();
        for name in ["alice", "ALICE"] {
            let taken = fixture.accounts.create(named(name)).await;
            assert!(matches!(taken, Err(Error::UserInUse)));
            let taken = fixture.accounts.check_username(name).await;
            assert!(matches!(taken, Err(Error::UserInUse)));
        }
        let alice = user_id!("@alice:example.org");
        fixture.accounts.deactivate(alice, true).await.unwrap();
        let taken = fixture.accounts.create(named("alice")).await;
        assert!(matches!(taken, Err(Error::UserInUse)));
    }

    #[tokio::test]
    async fn names_keep_to_the_grammar() {
        let fixture = Fixture::new();
        for name in ["", "a b", "é", "a:b", "@a", &"x".repeat(256)] {
            let refused = fixture.accounts.check_username(name).await;
            assert!(matches!(refused, Err(Error::InvalidUsername(_))), "{name}");
        }
        for name in ["a", "a.b_c=d-e/f+g", "007"] {
            fixture.accounts.check_username(name).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_weak_password_makes_no_account() {
        let fixture = Fixture::new();
        let mut account = named("alice");
        account.password = Some("short".to_owned());
        let refused = fixture.accounts.create(account).await;
        assert!(matches!(refused, Err(Error::WeakPassword(_))));
        fixture.accounts.check_username("alice").await.unwrap();
    }

    #[tokio::test]
    async fn a_token_is_used_up_with_the_account() {
        let fixture = Fixture::with(Registration {
            token: true,
            ..Registration::default()
        });
        let accounts = &fixture.accounts;
        accounts
            .create_registration_token(Some("welcome".to_owned()), Some(1), None)
            .await
            .unwrap();
        let proof = || RegistrationProof {
            token: Some("welcome".to_owned()),
        };
        assert!(
            accounts
                .is_registration_token_valid("welcome")
                .await
                .unwrap()
        );
        accounts.register(named("alice"), proof()).await.unwrap();
        assert!(
            !accounts
                .is_registration_token_valid("welcome")
                .await
                .unwrap()
        );

        let refused = accounts.register(named("bob"), proof()).await;
        assert!(matches!(refused, Err(Error::InvalidRegistrationToken)));
        accounts.check_username("bob").await.unwrap();
    }

    #[tokio::test]
    async fn a_token_ends() {
        let fixture = Fixture::new();
        let accounts = &fixture.accounts;
        let end = accounts.now_ms() + 1_000;
        let token = accounts
            .create_registration_token(None, None, Some(end))
            .await
            .unwrap()
            .token;
        assert!(accounts.is_registration_token_valid(&token).await.unwrap());
        fixture.pass(std::time::Duration::from_secs(1));
        assert!(!accounts.is_registration_token_valid(&token).await.unwrap());
    }

    #[tokio::test]
    async fn a_token_has_a_name_of_its_own() {
        let fixture = Fixture::new();
        let create = async |name: &str| {
            let name = Some(name.to_owned());
            fixture
                .accounts
                .create_registration_token(name, None, None)
                .await
        };
        create("welcome").await.unwrap();
        for name in ["welcome", "", "with space", &"x".repeat(65)] {
            assert!(matches!(create(name).await, Err(Error::Invalid { .. })));
        }
    }
}
