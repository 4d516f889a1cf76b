//! Making an account.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, Result, bail};
use hmac::{Hmac, Mac as _};
use matrix_sdk::{
    Client,
    ruma::{
        OwnedUserId,
        api::client::{
            account::register,
            uiaa::{AuthData, AuthType, Dummy, RegistrationToken, UiaaInfo},
        },
    },
};
use serde::Deserialize;
use sha1::Sha1;

/// More than any sensible registration flow has.
const MAX_STAGES: usize = 4;

/// How a homeserver gives out accounts.
#[derive(Clone)]
pub enum Registration {
    /// The nonce and HMAC exchange on `/_synapse/admin/v1/register`.
    SharedSecret(String),
    /// <https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration>
    Token(String),
    Open,
}

impl FromStr for Registration {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some(("shared-secret", secret)) => Ok(Self::SharedSecret(secret.to_owned())),
            Some(("token", token)) => Ok(Self::Token(token.to_owned())),
            None if text == "open" => Ok(Self::Open),
            _ => bail!("a registration is shared-secret:SECRET, token:TOKEN or open"),
        }
    }
}

/// Without the secret.
impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedSecret(_) => "SharedSecret",
            Self::Token(_) => "Token",
            Self::Open => "Open",
        })
    }
}

impl Registration {
    /// Registers an account without logging in to it.
    pub(crate) async fn register(
        &self,
        client: &Client,
        localpart: &str,
        password: &str,
    ) -> Result<OwnedUserId> {
        match self {
            Self::SharedSecret(secret) => {
                by_shared_secret(client, secret, localpart, password).await
            }
            Self::Token(token) => by_sdk(client, Some(token), localpart, password).await,
            Self::Open => by_sdk(client, None, localpart, password).await,
        }
    }
}

/// As any client would: asks first, then does the stages that the server names, one by one.
async fn by_sdk(
    client: &Client,
    token: Option<&str>,
    localpart: &str,
    password: &str,
) -> Result<OwnedUserId> {
    let mut request = register::v3::Request::new();
    request.username = Some(localpart.to_owned());
    request.password = Some(password.to_owned());
    request.inhibit_login = true;
    for _ in 0..=MAX_STAGES {
        let error = match client.matrix_auth().register(request.clone()).await {
            Ok(response) => return Ok(response.user_id),
            Err(error) => error,
        };
        let Some(challenge) = error.as_uiaa_response() else {
            return Err(error.into());
        };
        let auth = answer(challenge, token).context("no registration flow can be followed")?;
        request.auth = Some(auth);
    }
    bail!("the registration flow does not end")
}

/// Answers the first open stage of the first flow that this client can finish.
fn answer(challenge: &UiaaInfo, token: Option<&str>) -> Option<AuthData> {
    let known = |stage: &AuthType| match stage {
        AuthType::Dummy => true,
        AuthType::RegistrationToken => token.is_some(),
        _ => false,
    };
    let flow = challenge
        .flows
        .iter()
        .find(|flow| flow.stages.iter().all(known))?;
    let stage = flow
        .stages
        .iter()
        .find(|stage| !challenge.completed.contains(stage))?;
    let session = challenge.session.clone();
    if let (AuthType::RegistrationToken, Some(token)) = (stage, token) {
        let mut stage = RegistrationToken::new(token.to_owned());
        stage.session = session;
        return Some(AuthData::RegistrationToken(stage));
    }
    let mut stage = Dummy::new();
    stage.session = session;
    Some(AuthData::Dummy(stage))
}

#[derive(Deserialize)]
struct Nonce {
    nonce: String,
}

#[derive(Deserialize)]
struct Registered {
    user_id: OwnedUserId,
}

async fn by_shared_secret(
    client: &Client,
    secret: &str,
    localpart: &str,
    password: &str,
) -> Result<OwnedUserId> {
    let url = client.homeserver().join("/_synapse/admin/v1/register")?;
    let http = reqwest::Client::new();
    let Nonce { nonce } = http
        .get(url.clone())
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())?;
    mac.update(
        [nonce.as_str(), localpart, password, "notadmin"]
            .join("\0")
            .as_bytes(),
    );
    let mac = hex::encode(mac.finalize().into_bytes());
    let body = std::collections::BTreeMap::from([
        ("nonce", nonce.as_str()),
        ("username", localpart),
        ("password", password),
        ("mac", &mac),
    ]);
    let reply = http
        .post(url)
        .json(&body)
        .send()
        .await?
        .error_for_status()?;
    let Registered { user_id } = reply.json().await?;
    Ok(user_id)
}
