//! User-interactive authentication: proof, in stages, that the person at the client is the account's owner, or may make
//! an account. [Spec](https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api).

use ruma::{
    OwnedUserId,
    api::{
        client::uiaa::{AuthData, AuthFlow, AuthType, Password, UiaaInfo},
        error::{ErrorKind, StandardErrorBody},
    },
};

use crate::{
    Accounts, EmailPurpose, Error, Result, Session,
    expiring::Expiring,
    login::{local_user_id, matrix_identifier},
};

/// Exchanges that may be under way.
const CAPACITY: usize = 10_000;

/// How long one may take, in milliseconds.
const LIFETIME_MS: u64 = 15 * 60 * 1_000;

/// Proof that somebody may make an account. Only [`Accounts::confirm_registration`] gives one.
#[derive(Debug)]
#[must_use]
pub struct RegistrationProof {
    /// The token to use up with the account.
    pub(crate) token: Option<String>,
}

/// Exchanges under way: what each is for, by its id.
#[derive(Debug)]
pub(crate) struct Interactions(Expiring<String, Interaction>);

#[derive(Clone, Debug)]
struct Interaction {
    purpose: Purpose,
    /// What was done on a page of this server, instead of by the client.
    done: Option<FallbackStage>,
}

/// A stage that was done on a page of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FallbackStage {
    /// Nothing but a click.
    Dummy,
    /// A registration token.
    RegistrationToken(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    Registration,
    /// A new password for whoever forgot theirs.
    Reset,
    /// Something that an account's owner alone may do: which operation, and which device asks.
    Owner(&'static str, String),
}

impl Default for Interactions {
    fn default() -> Self {
        Self(Expiring::new(CAPACITY, LIFETIME_MS))
    }
}

impl Accounts {
    /// Makes sure that the owner of the account is at the client, by password. `operation` names what for: proof for one
    /// is none for another.
    ///
    /// # Errors
    ///
    /// [`Error::Interaction`] with what the client has to do next, until it has done all; [`Error::NotTheOwner`] where the
    /// proof is for another account; [`Error::TryLater`].
    pub async fn confirm_owner(
        &self,
        session: &Session,
        operation: &'static str,
        auth: Option<&AuthData>,
    ) -> Result<()> {
        // An application service has no password to show, and full control over its users.
        if session.service.is_some() {
            return Ok(());
        }
        let whose = format!("{}/{}", session.user_nid, session.device_id);
        let exchange = Exchange {
            accounts: self,
            purpose: Purpose::Owner(operation, whose),
            stages: &[AuthType::Password],
        };
        let (id, auth) = exchange.resume(auth)?;
        let AuthData::Password(proof) = auth else {
            return Err(exchange.unsupported(&id));
        };
        if !self.is_password_of(session, proof).await? {
            return Err(exchange.failed(&id, ErrorKind::Forbidden, "Invalid password"));
        }
        exchange.complete(&id);
        Ok(())
    }

    /// Makes sure that somebody may make an account, by a registration token, or because anyone may.
    ///
    /// # Errors
    ///
    /// [`Error::RegistrationDisabled`]; [`Error::Interaction`] with what the client has to do next.
    pub async fn confirm_registration(&self, auth: Option<&AuthData>) -> Result<RegistrationProof> {
        let policy = &self.inner.config.registration;
        let stages: &[AuthType] = match (policy.open, policy.token) {
            (true, true) => &[AuthType::Dummy, AuthType::RegistrationToken],
            (true, false) => &[AuthType::Dummy],
            (false, true) => &[AuthType::RegistrationToken],
            (false, false) => return Err(Error::RegistrationDisabled),
        };
        let exchange = Exchange {
            accounts: self,
            purpose: Purpose::Registration,
            stages,
        };
        let (id, auth) = exchange.resume(auth)?;
        let token = match auth {
            AuthData::Dummy(_) if policy.open => None,
            AuthData::FallbackAcknowledgement(_) => match exchange.done(&id) {
                Some(FallbackStage::Dummy) => None,
                Some(FallbackStage::RegistrationToken(token)) => Some(token),
                None => return Err(exchange.unsupported(&id)),
            },
            AuthData::RegistrationToken(proof) if policy.token => {
                if !self.is_registration_token_valid(&proof.token).await? {
                    let message = "The registration token is not valid";
                    return Err(exchange.failed(&id, ErrorKind::Unauthorized, message));
                }
                Some(proof.token.clone())
            }
            _ => return Err(exchange.unsupported(&id)),
        };
        exchange.complete(&id);
        Ok(RegistrationProof { token })
    }

    /// Notes that a stage of a registration was done on a page of this server; `false` where the stage is none of those that
    /// the site asks for, the exchange is over, or the token is not valid.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn complete_fallback(&self, session: &str, stage: FallbackStage) -> Result<bool> {
        let policy = &self.inner.config.registration;
        let is_right = match &stage {
            FallbackStage::Dummy => policy.open,
            FallbackStage::RegistrationToken(token) => {
                policy.token && self.is_registration_token_valid(token).await?
            }
        };
        let interactions = &self.inner.interactions.0;
        let found = interactions.get(&session.to_owned(), self.now_ms());
        let found = found.filter(|found| is_right && found.purpose == Purpose::Registration);
        let Some(mut interaction) = found else {
            return Ok(false);
        };
        interaction.done = Some(stage);
        interactions.insert(session.to_owned(), interaction, self.now_ms());
        Ok(true)
    }

    /// Makes sure that somebody who forgot their password may set a new one, by an e-mail address of theirs, and says whose
    /// account it is.
    ///
    /// # Errors
    ///
    /// [`Error::Interaction`] with what the client has to do next; [`Error::EmailDisabled`] where the server sends no
    /// e-mails.
    pub async fn confirm_reset(&self, auth: Option<&AuthData>) -> Result<OwnedUserId> {
        if !self.sends_email() {
            return Err(Error::EmailDisabled);
        }
        let exchange = Exchange {
            accounts: self,
            purpose: Purpose::Reset,
            stages: &[AuthType::EmailIdentity],
        };
        let (id, auth) = exchange.resume(auth)?;
        let AuthData::EmailIdentity(proof) = auth else {
            return Err(exchange.unsupported(&id));
        };
        let (sid, secret) = (
            proof.thirdparty_id_creds.sid.as_str(),
            proof.thirdparty_id_creds.client_secret.as_str(),
        );
        let owner = match self.take_proof(EmailPurpose::ResetPassword, sid, secret) {
            Ok((address, _)) => self.email_owner(&address).await?,
            Err(_) => None,
        };
        let Some(owner) = owner else {
            let message = "The e-mail address is not confirmed";
            return Err(exchange.failed(&id, ErrorKind::ThreepidAuthFailed, message));
        };
        exchange.complete(&id);
        Ok(owner)
    }

    async fn is_password_of(&self, session: &Session, proof: &Password) -> Result<bool> {
        let user_id = matrix_identifier(&proof.identifier)
            .and_then(|name| local_user_id(name, self.store().server_name()).ok());
        if user_id.as_ref() != Some(&session.user_id) {
            return Err(Error::NotTheOwner);
        }
        self.inner.attempts.begin(&session.user_id, self.now_ms())?;
        let account = self.account(&session.user_id).await?;
        let is_right = self
            .inner
            .passwords
            .verify(proof.password.clone(), account.password_hash)
            .await?;
        if is_right {
            let attempts = &self.inner.attempts;
            attempts.succeeded(&session.user_id, self.now_ms());
        }
        Ok(is_right)
    }
}

/// One exchange: each of its stages is a flow of its own, so whoever completes one is through.
struct Exchange<'a> {
    accounts: &'a Accounts,
    purpose: Purpose,
    stages: &'a [AuthType],
}

impl Exchange<'_> {
    /// The exchange that the client goes on with. One that names none, as some clients do at first, starts here.
    fn resume<'d>(&self, auth: Option<&'d AuthData>) -> Result<(String, &'d AuthData)> {
        let Some(auth) = auth else {
            return Err(self.challenge(&self.start(), None));
        };
        let Some(id) = auth.session() else {
            return Ok((self.start(), auth));
        };
        let known = self
            .interactions()
            .get(&id.to_owned(), self.accounts.now_ms());
        if known.is_some_and(|known| known.purpose == self.purpose) {
            Ok((id.to_owned(), auth))
        } else {
            let message = "This authentication session is unknown or has expired";
            Err(self.failed(&self.start(), ErrorKind::Unknown, message))
        }
    }

    fn start(&self) -> String {
        let id = crate::secret::token("lxu");
        let now = self.accounts.now_ms();
        let interaction = Interaction {
            purpose: self.purpose.clone(),
            done: None,
        };
        self.interactions().insert(id.clone(), interaction, now);
        id
    }

    fn complete(&self, id: &str) {
        self.interactions()
            .remove(&id.to_owned(), self.accounts.now_ms());
    }

    fn unsupported(&self, id: &str) -> Error {
        self.failed(
            id,
            ErrorKind::Unrecognized,
            "This stage is not part of the authentication",
        )
    }

    fn failed(&self, id: &str, kind: ErrorKind, message: &str) -> Error {
        self.challenge(id, Some(StandardErrorBody::new(kind, message.to_owned())))
    }

    fn challenge(&self, id: &str, error: Option<StandardErrorBody>) -> Error {
        let flows = self
            .stages
            .iter()
            .map(|stage| AuthFlow::new(vec![stage.clone()]));
        let mut info = UiaaInfo::new(flows.collect());
        info.params = serde_json::value::to_raw_value(&serde_json::Map::new()).ok();
        info.session = Some(id.to_owned());
        info.auth_error = error.map(Box::new);
        Error::Interaction(Box::new(info))
    }

    /// What was done on a page of this server.
    fn done(&self, id: &str) -> Option<FallbackStage> {
        let known = self
            .interactions()
            .get(&id.to_owned(), self.accounts.now_ms());
        known?.done
    }

    fn interactions(&self) -> &Expiring<String, Interaction> {
        &self.accounts.inner.interactions.0
    }
}

#[cfg(test)]
mod tests {
    use ruma::api::client::uiaa::{
        Dummy, FallbackAcknowledgement, MatrixUserIdentifier, RegistrationToken, UserIdentifier,
    };

    use super::*;
    use crate::{
        Registration,
        testing::{Fixture, PASSWORD},
    };

    fn password(user: &str, password: &str, session: Option<String>) -> AuthData {
        let identifier = UserIdentifier::Matrix(MatrixUserIdentifier::new(user.to_owned()));
        let mut data = Password::new(identifier, password.to_owned());
        data.session = session;
        AuthData::Password(data)
    }

    fn challenge<T: std::fmt::Debug>(result: Result<T>) -> UiaaInfo {
        match result {
            Err(Error::Interaction(info)) => *info,
            other => panic!("no challenge: {other:?}"),
        }
    }

    fn error_code(info: &UiaaInfo) -> Option<String> {
        let error = info.auth_error.as_ref()?;
        Some(error.kind.errcode().to_string())
    }

    #[tokio::test]
    async fn an_owner_shows_their_password() {
        let fixture = Fixture::new();
        let session = fixture.alice_session().await;
        let confirm = async |auth: Option<&AuthData>| {
            fixture
                .accounts
                .confirm_owner(&session, "delete_devices", auth)
                .await
        };
        let first = challenge(confirm(None).await);
        assert_eq!(first.flows[0].stages, [AuthType::Password]);
        assert_eq!(error_code(&first), None);

        let wrong = challenge(
            confirm(Some(&password(
                "alice",
                "wrong horse",
                first.session.clone(),
            )))
            .await,
        );
        assert_eq!(error_code(&wrong).as_deref(), Some("M_FORBIDDEN"));
        assert_eq!(wrong.session, first.session);

        let right = password("@alice:example.org", PASSWORD, first.session);
        confirm(Some(&right)).await.unwrap();
        // The exchange is over: the same proof does not serve twice.
        let again = challenge(confirm(Some(&right)).await);
        assert_eq!(error_code(&again).as_deref(), Some("M_UNKNOWN"));
    }

    #[tokio::test]
    async fn proof_serves_one_person_and_one_purpose() {
        let fixture = Fixture::new();
        let alice = fixture.alice_session().await;
        fixture.create("bob").await;
        let bob = fixture.log_in("bob", crate::NewDevice::default()).await;
        let bob = fixture.session(&bob).await;

        let accounts = &fixture.accounts;
        let theirs = challenge(accounts.confirm_owner(&bob, "deactivate", None).await).session;
        let auth = password("alice", PASSWORD, theirs);
        let stolen = challenge(
            accounts
                .confirm_owner(&alice, "deactivate", Some(&auth))
                .await,
        );
        assert_eq!(error_code(&stolen).as_deref(), Some("M_UNKNOWN"));

        let auth = password("alice", PASSWORD, stolen.session);
        let other = challenge(
            accounts
                .confirm_owner(&alice, "change_password", Some(&auth))
                .await,
        );
        assert_eq!(error_code(&other).as_deref(), Some("M_UNKNOWN"));

        let auth = password("bob", PASSWORD, None);
        let foreign = accounts
            .confirm_owner(&alice, "deactivate", Some(&auth))
            .await;
        assert!(matches!(foreign, Err(Error::NotTheOwner)));
    }

    #[tokio::test]
    async fn an_exchange_ends_in_time_and_needs_a_known_stage() {
        let fixture = Fixture::new();
        let alice = fixture.alice_session().await;
        let accounts = &fixture.accounts;
        let id = challenge(accounts.confirm_owner(&alice, "x", None).await)
            .session
            .unwrap();
        let auth = AuthData::FallbackAcknowledgement(FallbackAcknowledgement::new(id.clone()));
        let unknown = challenge(accounts.confirm_owner(&alice, "x", Some(&auth)).await);
        assert_eq!(error_code(&unknown).as_deref(), Some("M_UNRECOGNIZED"));

        fixture.pass(std::time::Duration::from_millis(LIFETIME_MS));
        let auth = password("alice", PASSWORD, Some(id));
        let late = challenge(accounts.confirm_owner(&alice, "x", Some(&auth)).await);
        assert_eq!(error_code(&late).as_deref(), Some("M_UNKNOWN"));
    }

    #[tokio::test]
    async fn registration_opens_as_the_site_says() {
        let closed = Fixture::new();
        let refused = closed.accounts.confirm_registration(None).await;
        assert!(matches!(refused, Err(Error::RegistrationDisabled)));

        let open = Fixture::with(Registration {
            open: true,
            ..Registration::default()
        });
        let info = challenge(open.accounts.confirm_registration(None).await);
        assert_eq!(info.flows.len(), 1);
        let dummy = AuthData::Dummy(Dummy::new());
        let proof = open.accounts.confirm_registration(Some(&dummy)).await;
        assert_eq!(proof.unwrap().token, None);
    }

    #[tokio::test]
    async fn a_registration_token_opens_where_dummy_does_not() {
        let fixture = Fixture::with(Registration {
            token: true,
            ..Registration::default()
        });
        let accounts = &fixture.accounts;
        accounts
            .create_registration_token(Some("welcome".to_owned()), None, None)
            .await
            .unwrap();
        let with =
            |token: &str| AuthData::RegistrationToken(RegistrationToken::new(token.to_owned()));

        let dummy = AuthData::Dummy(Dummy::new());
        let refused = challenge(accounts.confirm_registration(Some(&dummy)).await);
        assert_eq!(error_code(&refused).as_deref(), Some("M_UNRECOGNIZED"));
        let refused = challenge(accounts.confirm_registration(Some(&with("hello"))).await);
        assert_eq!(error_code(&refused).as_deref(), Some("M_UNAUTHORIZED"));
        let proof = accounts.confirm_registration(Some(&with("welcome"))).await;
        assert_eq!(proof.unwrap().token.as_deref(), Some("welcome"));
    }
}
