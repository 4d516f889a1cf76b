//! E-mail addresses of users: proof that they are theirs, and what it is good for. Off unless the site names a relay; no
//! identity server has a part in it.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#adding-account-administrative-contact-information).

mod relay;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lettre::Address;
use luxchat_store::EmailAddress;
use ruma::OwnedUserId;
use sha2::{Digest, Sha256};

use crate::{
    Accounts, Error, Result, Session,
    expiring::Expiring,
    secret::{self, TokenHash},
};

pub(crate) use self::relay::Relay;

/// Proofs under way.
const CAPACITY: usize = 10_000;

/// How long one may take, in milliseconds.
const LIFETIME_MS: u64 = 60 * 60 * 1_000;

/// E-mails that one address gets in that time.
const EMAILS_OF_ADDRESS: u32 = 5;

/// The most addresses of one account.
const ADDRESSES_OF_USER: usize = 20;

/// What a user proves that an e-mail address is theirs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailPurpose {
    /// To add it to their account.
    Add,
    /// To make an account with it.
    Register,
    /// To set a new password for the account that has it.
    ResetPassword,
}

/// A client's wish to have proof.
#[derive(Clone, Debug)]
pub struct EmailRequest {
    /// What for.
    pub purpose: EmailPurpose,
    /// Known to the client alone.
    pub client_secret: String,
    /// The address, as the user typed it.
    pub address: String,
    /// A larger number than the last time asks for another e-mail.
    pub send_attempt: u64,
}

/// Proofs under way, and how many e-mails were sent to whom.
#[derive(Debug)]
pub(crate) struct Proofs {
    proofs: Expiring<String, Proof>,
    sent: Expiring<String, u32>,
}

#[derive(Clone, Debug)]
struct Proof {
    purpose: EmailPurpose,
    client_secret: TokenHash,
    address: String,
    send_attempt: u64,
    token: TokenHash,
    validated_ms: Option<u64>,
}

impl Default for Proofs {
    fn default() -> Self {
        Self {
            proofs: Expiring::new(CAPACITY, LIFETIME_MS),
            sent: Expiring::new(CAPACITY, LIFETIME_MS),
        }
    }
}

impl Accounts {
    /// Whether this server sends e-mails.
    pub fn sends_email(&self) -> bool {
        self.inner.relay.is_some()
    }

    /// Sends a link to an e-mail address, and answers with what names the proof. Whether an address belongs to an account is
    /// not told to whoever has forgotten a password: then no e-mail is sent.
    ///
    /// # Errors
    ///
    /// [`Error::EmailDisabled`], [`Error::Invalid`] for the address, [`Error::EmailInUse`] where it belongs to an account
    /// already, [`Error::TryLater`].
    pub async fn request_email(&self, request: EmailRequest) -> Result<String> {
        let relay = self.inner.relay.as_ref().ok_or(Error::EmailDisabled)?;
        let address = parse_address(&request.address)?;
        let known = address.to_string();
        let owner = self.store().read(move |tx| tx.email_owner(&known)).await?;
        let is_reset = request.purpose == EmailPurpose::ResetPassword;
        if owner.is_some() && !is_reset {
            return Err(Error::EmailInUse);
        }
        let sid = session_id(&request, &address);
        let (proofs, now) = (&self.inner.proofs, self.now_ms());
        let known = proofs.proofs.get(&sid, now);
        if known.is_some_and(|proof| proof.send_attempt >= request.send_attempt) {
            return Ok(sid);
        }
        proofs.count_email(&address, now)?;
        let token = secret::token("lxm");
        let proof = Proof {
            purpose: request.purpose,
            client_secret: secret::hash(&request.client_secret),
            address: address.to_string(),
            send_attempt: request.send_attempt,
            token: secret::hash(&token),
            validated_ms: None,
        };
        proofs.proofs.insert(sid.clone(), proof, now);
        if owner.is_some() || !is_reset {
            relay.send_link(address, request.purpose, &sid, &token)?;
        }
        Ok(sid)
    }

    /// Takes the token of a link that was sent.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where it is none, or not any more.
    pub fn confirm_email(&self, sid: &str, token: &str) -> Result<()> {
        let (proofs, now) = (&self.inner.proofs.proofs, self.now_ms());
        let proof = proofs.get(&sid.to_owned(), now);
        let mut proof = proof
            .filter(|proof| proof.token == secret::hash(token))
            .ok_or(Error::NotFound("link"))?;
        proof.validated_ms = Some(now);
        proofs.insert(sid.to_owned(), proof, now);
        Ok(())
    }

    /// Adds a proven address to the session's account. The proof is used up.
    ///
    /// # Errors
    ///
    /// [`Error::EmailNotProven`], [`Error::EmailInUse`], [`Error::TooMany`].
    pub async fn add_email(&self, session: &Session, sid: &str, client_secret: &str) -> Result<()> {
        let (address, validated_ms) = self.take_proof(EmailPurpose::Add, sid, client_secret)?;
        let user = session.user_nid;
        self.store()
            .write(move |tx| {
                if tx.email_addresses(user)?.len() >= ADDRESSES_OF_USER {
                    return Err(Error::TooMany("e-mail addresses"));
                }
                tx.insert_email_address(user, &address, validated_ms)?
                    .then_some(())
                    .ok_or(Error::EmailInUse)
            })
            .await
    }

    /// Takes an address from the session's account. One that it does not have is not missed.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn remove_email(&self, session: &Session, address: &str) -> Result<()> {
        let (user, address) = (session.user_nid, address.to_lowercase());
        self.store()
            .write(move |tx| tx.delete_email_address(user, &address))
            .await?;
        Ok(())
    }

    /// The addresses of the session's account.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn emails(&self, session: &Session) -> Result<Vec<EmailAddress>> {
        let user = session.user_nid;
        Ok(self
            .store()
            .read(move |tx| tx.email_addresses(user))
            .await?)
    }

    /// Whose an address is, for logging in by it.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn email_owner(&self, address: &str) -> Result<Option<OwnedUserId>> {
        let address = address.to_lowercase();
        Ok(self
            .store()
            .read(move |tx| tx.email_owner(&address))
            .await?)
    }

    /// The address that a proof is about, and when it was proven; the proof is used up.
    pub(crate) fn take_proof(
        &self,
        purpose: EmailPurpose,
        sid: &str,
        client_secret: &str,
    ) -> Result<(String, u64)> {
        let (proofs, now) = (&self.inner.proofs.proofs, self.now_ms());
        let sid = sid.to_owned();
        let proof = proofs.get(&sid, now).filter(|proof| {
            proof.purpose == purpose && proof.client_secret == secret::hash(client_secret)
        });
        let proof = proof.ok_or(Error::EmailNotProven)?;
        let validated_ms = proof.validated_ms.ok_or(Error::EmailNotProven)?;
        proofs.remove(&sid, now);
        Ok((proof.address, validated_ms))
    }
}

impl Proofs {
    fn count_email(&self, address: &Address, now_ms: u64) -> Result<()> {
        let key = address.to_string();
        let count = self.sent.get(&key, now_ms).unwrap_or(0) + 1;
        if count > EMAILS_OF_ADDRESS {
            return Err(Error::TryLater(std::time::Duration::from_millis(
                LIFETIME_MS,
            )));
        }
        self.sent.insert(key, count, now_ms);
        Ok(())
    }
}

fn parse_address(address: &str) -> Result<Address> {
    let parsed = address.trim().to_lowercase().parse();
    parsed.map_err(|error: lettre::address::AddressError| Error::Invalid {
        what: "e-mail address",
        why: error.to_string(),
    })
}

/// The same for the same request made again.
fn session_id(request: &EmailRequest, address: &Address) -> String {
    let mut hash = Sha256::new();
    for part in [
        &format!("{:?}", request.purpose),
        &request.client_secret,
        &address.to_string(),
    ] {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::{relay::testing::Outbox, *};
    use crate::testing::Fixture;

    fn request(purpose: EmailPurpose, address: &str, send_attempt: u64) -> EmailRequest {
        EmailRequest {
            purpose,
            client_secret: "secret".to_owned(),
            address: address.to_owned(),
            send_attempt,
        }
    }

    #[tokio::test]
    async fn an_address_is_added_once_its_owner_opened_the_link() {
        let mut outbox = Outbox::open().await;
        let fixture = Fixture::with_email(outbox.config());
        let session = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        let ask = request(EmailPurpose::Add, "Alice@Example.ORG", 1);
        let sid = accounts.request_email(ask.clone()).await.unwrap();
        let early = accounts.add_email(&session, &sid, "secret").await;
        assert!(matches!(early, Err(Error::EmailNotProven)));

        let (link_sid, token) = outbox.link().await;
        assert_eq!(link_sid, sid);
        // The same attempt sends no second e-mail, so the first link stays good.
        assert_eq!(accounts.request_email(ask).await.unwrap(), sid);
        assert!(accounts.confirm_email(&sid, "lxm_wrong").is_err());
        accounts.confirm_email(&sid, &token).unwrap();
        let other = accounts.add_email(&session, &sid, "other").await;
        assert!(matches!(other, Err(Error::EmailNotProven)));
        accounts.add_email(&session, &sid, "secret").await.unwrap();
        let emails = accounts.emails(&session).await.unwrap();
        assert_eq!(emails[0].address, "alice@example.org");

        let taken = request(EmailPurpose::Register, "alice@example.org", 1);
        let taken = accounts.request_email(taken).await;
        assert!(matches!(taken, Err(Error::EmailInUse)));
        accounts
            .remove_email(&session, "ALICE@example.org")
            .await
            .unwrap();
        assert!(accounts.emails(&session).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_forgotten_password_is_replaced_without_telling_who_has_an_account() {
        let mut outbox = Outbox::open().await;
        let fixture = Fixture::with_email(outbox.config());
        fixture.create("alice").await;
        let accounts = &fixture.accounts;
        let alice = user_id!("@alice:example.org");
        let user = accounts.account(alice).await.unwrap().user_nid;
        accounts
            .store()
            .write(move |tx| tx.insert_email_address(user, "alice@example.org", 1))
            .await
            .unwrap();
        for nobody in ["nobody@example.org", "alice@example.org"] {
            let ask = request(EmailPurpose::ResetPassword, nobody, 1);
            accounts.request_email(ask).await.unwrap();
        }
        // The first e-mail there is went to the one who has an account.
        let (sid, token) = outbox.link().await;
        accounts.confirm_email(&sid, &token).unwrap();
        let (address, _) = accounts
            .take_proof(EmailPurpose::ResetPassword, &sid, "secret")
            .unwrap();
        let owner = accounts.email_owner(&address).await.unwrap();
        assert_eq!(owner.as_deref(), Some(alice));
        let again = accounts.take_proof(EmailPurpose::ResetPassword, &sid, "secret");
        assert!(matches!(again, Err(Error::EmailNotProven)));
    }

    #[tokio::test]
    async fn nobody_is_flooded_and_nothing_is_sent_unless_the_site_says_so() {
        let outbox = Outbox::open().await;
        let fixture = Fixture::with_email(outbox.config());
        for attempt in 1..=u64::from(EMAILS_OF_ADDRESS) {
            let ask = request(EmailPurpose::Add, "alice@example.org", attempt);
            fixture.accounts.request_email(ask).await.unwrap();
        }
        let ask = request(EmailPurpose::Add, "alice@example.org", 99);
        let refused = fixture.accounts.request_email(ask).await;
        assert!(matches!(refused, Err(Error::TryLater(_))));
        let wrong = request(EmailPurpose::Add, "no address", 1);
        let refused = fixture.accounts.request_email(wrong).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })));

        let silent = Fixture::new();
        let ask = request(EmailPurpose::Add, "alice@example.org", 1);
        let refused = silent.accounts.request_email(ask).await;
        assert!(matches!(refused, Err(Error::EmailDisabled)));
    }
}
