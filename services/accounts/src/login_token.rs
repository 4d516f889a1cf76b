//! Tokens by which a user who is logged in logs in one more device.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv1loginget_token).

use std::time::Duration;

use ruma::OwnedUserId;

use crate::{
    Accounts, Error, Login, NewDevice, Result, Session,
    expiring::Expiring,
    secret::{self, TokenHash},
};

/// Tokens that may be out.
const CAPACITY: usize = 10_000;

/// How long a token can be used.
const LIFETIME: Duration = Duration::from_mins(2);

/// Whom a token logs in. In memory alone: a restart costs a user one more request.
#[derive(Debug)]
pub(crate) struct LoginTokens(Expiring<TokenHash, OwnedUserId>);

impl Default for LoginTokens {
    fn default() -> Self {
        Self(Expiring::new(CAPACITY, 120_000))
    }
}

impl Accounts {
    /// A token that logs the session's user in once, and how long it can be used.
    pub fn issue_login_token(&self, session: &Session) -> (String, Duration) {
        let token = secret::token("lxl");
        let (tokens, hash) = (&self.inner.login_tokens.0, secret::hash(&token));
        tokens.insert(hash, session.user_id.clone(), self.now_ms());
        (token, LIFETIME)
    }

    /// Logs in by such a token, which is used up.
    ///
    /// # Errors
    ///
    /// [`Error::WrongCredentials`] where it is none, or not any more; [`Error::Deactivated`], [`Error::Locked`],
    /// [`Error::TooMany`].
    pub async fn login_by_token(&self, token: &str, device: NewDevice) -> Result<Login> {
        let (tokens, hash) = (&self.inner.login_tokens.0, secret::hash(token));
        let user_id = tokens.remove(&hash, self.now_ms());
        let account = self
            .account(&user_id.ok_or(Error::WrongCredentials)?)
            .await?;
        if account.is_deactivated {
            return Err(Error::Deactivated);
        }
        if account.is_locked {
            return Err(Error::Locked);
        }
        self.start_session(account.user_nid, account.user_id, device)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    #[tokio::test]
    async fn a_token_logs_in_once_and_not_for_long() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        let (token, lifetime) = accounts.issue_login_token(&session);
        let login = accounts.login_by_token(&token, NewDevice::default()).await;
        assert_eq!(login.unwrap().user_id, session.user_id);
        let again = accounts.login_by_token(&token, NewDevice::default()).await;
        assert!(matches!(again, Err(Error::WrongCredentials)));

        let (token, _) = accounts.issue_login_token(&session);
        fixture.pass(lifetime);
        let late = accounts.login_by_token(&token, NewDevice::default()).await;
        assert!(matches!(late, Err(Error::WrongCredentials)));
    }
}
