//! Making accounts.

use luxchat_store::RegistrationToken;
use ruma::{OwnedUserId, UserId, push::Ruleset};

use crate::{Accounts, Error, Login, NewDevice, RegistrationProof, Result, push_rules};

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
        let rules = push_rules::content(Ruleset::server_default(&user_id))?;
        let (id, is_admin) = (user_id.clone(), account.is_admin);
        self.store()
            .write(move |tx| {
                let user = tx
                    .insert_account(&id, hash.as_deref(), is_admin)?
                    .ok_or(Error::UserInUse)?;
                if let Some(token) = token
                    && !tx.use_registration_token(&token)?
                {
                    return Err(Error::InvalidRegistrationToken);
                }
                tx.set_account_data(user, push_rules::EVENT_TYPE, &rules)?;
                Ok(())
            })
            .await?;
        Ok(user_id)
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
        UserId::parse_with_server_name(username, server_name)
            .map_err(|_| Error::InvalidUsername("it is too long"))
    }
}
