//! Registration by whoever shares a secret with the server: the tools that make accounts in numbers.
//! [Format](https://element-hq.github.io/synapse/latest/admin_api/register_api.html).

use hmac::{Hmac, KeyInit, Mac};
use ruma::OwnedUserId;
use sha1::Sha1;

use crate::{Accounts, Error, NewAccount, Result, expiring::Expiring};

/// Nonces that may be out.
const CAPACITY: usize = 1_000;

/// How long a nonce can be used, in milliseconds.
const LIFETIME_MS: u64 = 60_000;

#[derive(Debug)]
pub(crate) struct Nonces(Expiring<String, ()>);

impl Default for Nonces {
    fn default() -> Self {
        Self(Expiring::new(CAPACITY, LIFETIME_MS))
    }
}

/// A request to make an account, with the code that proves knowledge of the secret.
#[derive(Clone, Debug)]
pub struct SharedSecretRequest {
    /// From [`Accounts::shared_secret_nonce`].
    pub nonce: String,
    /// The account.
    pub account: NewAccount,
    /// Part of what the code covers, and of no other meaning here.
    pub user_type: Option<String>,
    /// HMAC-SHA1 over the fields, joined by NUL, in hexadecimal.
    pub mac: String,
}

impl Accounts {
    /// A nonce for one registration in the next minute.
    ///
    /// # Errors
    ///
    /// [`Error::RegistrationDisabled`] where the site has no secret.
    pub fn shared_secret_nonce(&self) -> Result<String> {
        self.shared_secret()?;
        let nonce = crate::secret::token("lxn");
        self.inner.nonces.0.insert(nonce.clone(), (), self.now_ms());
        Ok(nonce)
    }

    /// Makes an account for whoever knows the secret.
    ///
    /// # Errors
    ///
    /// [`Error::RegistrationDisabled`], [`Error::SharedSecret`], and those of [`Accounts::create`].
    pub async fn register_with_shared_secret(
        &self,
        request: SharedSecretRequest,
    ) -> Result<OwnedUserId> {
        let secret = self.shared_secret()?;
        self.inner
            .nonces
            .0
            .remove(&request.nonce, self.now_ms())
            .ok_or(Error::SharedSecret("unrecognised nonce"))?;
        if !is_authentic(&request, secret) {
            return Err(Error::SharedSecret("HMAC incorrect"));
        }
        self.create(request.account).await
    }

    fn shared_secret(&self) -> Result<&str> {
        self.inner
            .config
            .registration
            .shared_secret
            .as_deref()
            .filter(|secret| !secret.is_empty())
            .ok_or(Error::RegistrationDisabled)
    }
}

fn is_authentic(request: &SharedSecretRequest, secret: &str) -> bool {
    let Some(code) = decode_hex(&request.mac) else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret.as_bytes()) else {
        return false;
    };
    let account = &request.account;
    let admin = if account.is_admin {
        "admin"
    } else {
        "notadmin"
    };
    let fields = [
        Some(request.nonce.as_str()),
        Some(account.username.as_deref().unwrap_or_default()),
        Some(account.password.as_deref().unwrap_or_default()),
        Some(admin),
        request.user_type.as_deref(),
    ];
    for (index, field) in fields.into_iter().flatten().enumerate() {
        if index > 0 {
            mac.update(b"\0");
        }
        mac.update(field.as_bytes());
    }
    mac.verify_slice(&code).is_ok()
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|start| u8::from_str_radix(&text[start..start + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Registration, testing::Fixture};

    fn request(mac: &str) -> SharedSecretRequest {
        SharedSecretRequest {
            nonce: "thisisanonce".to_owned(),
            account: NewAccount {
                username: Some("pepper_roni".to_owned()),
                password: Some("pizza".to_owned()),
                is_admin: true,
            },
            user_type: None,
            mac: mac.to_owned(),
        }
    }

    fn code(secret: &str, message: &str) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(message.as_bytes());
        let code = mac.finalize().into_bytes();
        let digits = code.iter().map(|byte| format!("{byte:02x}"));
        digits.reduce(|code, byte| code + &byte).unwrap()
    }

    #[tokio::test]
    async fn a_nonce_serves_once_and_for_a_minute() {
        let fixture = Fixture::with(Registration {
            shared_secret: Some("s".to_owned()),
            ..Registration::default()
        });
        let with_nonce = |nonce: &str| {
            let mut request = request(&code(
                "s",
                &format!("{nonce}\0pepper_roni\0pizza pie\0admin"),
            ));
            request.nonce = nonce.to_owned();
            request.account.password = Some("pizza pie".to_owned());
            fixture.accounts.register_with_shared_secret(request)
        };
        let stale = fixture.accounts.shared_secret_nonce().unwrap();
        fixture.pass(std::time::Duration::from_mins(1));
        let refused = with_nonce(&stale).await;
        assert!(matches!(
            refused,
            Err(Error::SharedSecret("unrecognised nonce"))
        ));

        let nonce = fixture.accounts.shared_secret_nonce().unwrap();
        let user_id = with_nonce(&nonce).await.unwrap();
        assert!(fixture.accounts.account(&user_id).await.unwrap().is_admin);
        let refused = with_nonce(&nonce).await;
        assert!(matches!(
            refused,
            Err(Error::SharedSecret("unrecognised nonce"))
        ));
    }

    #[tokio::test]
    async fn without_a_secret_there_is_no_such_registration() {
        for shared_secret in [None, Some(String::new())] {
            let fixture = Fixture::with(Registration {
                shared_secret,
                ..Registration::default()
            });
            let refused = fixture.accounts.shared_secret_nonce();
            assert!(matches!(refused, Err(Error::RegistrationDisabled)));
        }
    }

    #[test]
    fn a_code_is_checked_over_all_fields() {
        // printf 'thisisanonce\0pepper_roni\0pizza\0admin' | openssl dgst -sha1 -hmac 'shared_secret'
        let code = "48715842ad67d5dc9a9ee938a3bda4fcfae8d7c7";
        assert!(is_authentic(&request(code), "shared_secret"));
        assert!(!is_authentic(&request(code), "another_secret"));
        let mut demoted = request(code);
        demoted.account.is_admin = false;
        assert!(!is_authentic(&demoted, "shared_secret"));
        assert!(!is_authentic(&request("zz"), "shared_secret"));
        assert!(!is_authentic(&request("é"), "shared_secret"));
    }
}
