//! Short-lived tokens by which a user proves to a third party who they are.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#openid).

use std::time::Duration;

use ruma::{OwnedUserId, UserId};

use crate::{
    Accounts,
    expiring::Expiring,
    secret::{self, TokenHash},
};

/// Tokens that may be out.
const CAPACITY: usize = 10_000;

/// How long a token can be used.
const LIFETIME: Duration = Duration::from_hours(1);

/// Whom a token names. In memory alone: a restart costs a client one more request.
#[derive(Debug)]
pub(crate) struct OpenIdTokens(Expiring<TokenHash, OwnedUserId>);

impl Default for OpenIdTokens {
    fn default() -> Self {
        Self(Expiring::new(CAPACITY, 3_600_000))
    }
}

impl Accounts {
    /// A token that names a user, and how long it can be used.
    pub fn issue_open_id_token(&self, user_id: &UserId) -> (String, Duration) {
        let token = secret::token("lxo");
        let hash = secret::hash(&token);
        self.inner
            .open_id
            .0
            .insert(hash, user_id.to_owned(), self.now_ms());
        (token, LIFETIME)
    }

    /// Whom a token names, where it is one of ours and has not ended.
    pub fn open_id_user(&self, token: &str) -> Option<OwnedUserId> {
        self.inner
            .open_id
            .0
            .get(&secret::hash(token), self.now_ms())
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use crate::testing::Fixture;

    #[tokio::test]
    async fn a_token_names_its_user_for_an_hour() {
        let fixture = Fixture::new();
        let alice = user_id!("@alice:example.org");
        let (token, lifetime) = fixture.accounts.issue_open_id_token(alice);
        assert_eq!(
            fixture.accounts.open_id_user(&token).as_deref(),
            Some(alice)
        );
        assert_eq!(fixture.accounts.open_id_user("lxo_nonsense"), None);
        fixture.pass(lifetime);
        assert_eq!(fixture.accounts.open_id_user(&token), None);
    }
}
