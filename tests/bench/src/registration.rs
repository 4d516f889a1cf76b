//! The ways to get an account on the server under test.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use http::{Method, StatusCode};
use ring::hmac;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    client::{self, Session},
    connection::{Connection, Failure},
};

/// More stages than any sensible registration flow has.
const MAX_STAGES: usize = 4;

/// How accounts are made.
#[derive(Clone)]
pub enum Registration {
    /// `shared-secret:SECRET`: the nonce and HMAC exchange on `/_synapse/admin/v1/register`, which several servers offer.
    SharedSecret(String),
    /// `token:TOKEN`: a registration token, <https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration>.
    Token(String),
    /// `application-service:TOKEN`: in the name of a program that the server knows, without a password.
    ApplicationService(String),
    /// `open`: no condition but the dummy stage.
    Open,
}

impl FromStr for Registration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("shared-secret", secret)) if !secret.is_empty() => {
                Ok(Self::SharedSecret(secret.to_owned()))
            }
            Some(("token", token)) if !token.is_empty() => Ok(Self::Token(token.to_owned())),
            Some(("application-service", token)) if !token.is_empty() => {
                Ok(Self::ApplicationService(token.to_owned()))
            }
            None if text == "open" => Ok(Self::Open),
            _ => Err(
                "expected shared-secret:SECRET, token:TOKEN, application-service:TOKEN or open"
                    .to_owned(),
            ),
        }
    }
}

/// Without the secret, since options end up in error messages.
impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedSecret(_) => "SharedSecret",
            Self::Token(_) => "Token",
            Self::ApplicationService(_) => "ApplicationService",
            Self::Open => "Open",
        })
    }
}

#[derive(Deserialize)]
struct Nonce {
    nonce: String,
}

#[derive(Deserialize)]
struct Registered {
    access_token: String,
}

/// What a server asks for in user-interactive authentication.
#[derive(Deserialize)]
struct Challenge {
    session: Option<String>,
    #[serde(default)]
    flows: Vec<Flow>,
    #[serde(default)]
    completed: Vec<String>,
}

#[derive(Deserialize)]
struct Flow {
    stages: Vec<String>,
}

impl Registration {
    /// Registers an account and returns its first device.
    pub(crate) async fn register(
        &self,
        connection: &mut Connection,
        localpart: &str,
        password: &str,
    ) -> Result<Session, Failure> {
        let body = match self {
            Self::SharedSecret(secret) => {
                by_shared_secret(connection, secret, localpart, password).await?
            }
            Self::Token(token) => by_stages(connection, Some(token), localpart, password).await?,
            Self::ApplicationService(token) => by_program(connection, token, localpart).await?,
            Self::Open => by_stages(connection, None, localpart, password).await?,
        };
        let reply: Registered = serde_json::from_slice(&body)?;
        Session::new(&reply.access_token).ok_or(Failure::Incomplete("a usable access token"))
    }
}

async fn by_shared_secret(
    connection: &mut Connection,
    secret: &str,
    localpart: &str,
    password: &str,
) -> Result<bytes::Bytes, Failure> {
    const PATH: &str = "/_synapse/admin/v1/register";
    let body = connection
        .request(Method::GET, PATH, None, bytes::Bytes::new())
        .await?;
    let Nonce { nonce } = serde_json::from_slice(&body)?;
    let mac = shared_secret_mac(secret, &nonce, localpart, password);
    let body = client::json(&json!({
        "nonce": nonce, "username": localpart, "password": password, "admin": false, "mac": mac,
    }))?;
    connection.request(Method::POST, PATH, None, body).await
}

/// <https://spec.matrix.org/v1.19/application-service-api/#server-admin-style-permissions>
async fn by_program(
    connection: &mut Connection,
    token: &str,
    localpart: &str,
) -> Result<bytes::Bytes, Failure> {
    const PATH: &str = "/_matrix/client/v3/register";
    let authorization = client::bearer(token).ok_or(Failure::Incomplete("a usable token"))?;
    let body = client::json(&json!({
        "type": "m.login.application_service", "username": localpart,
    }))?;
    connection
        .request(Method::POST, PATH, Some(&authorization), body)
        .await
}

fn shared_secret_mac(secret: &str, nonce: &str, localpart: &str, password: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let message = [nonce, localpart, password, "notadmin"].join("\0");
    let tag = hmac::sign(&key, message.as_bytes());
    let mut hex = String::with_capacity(2 * tag.as_ref().len());
    for byte in tag.as_ref() {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
    }
    hex
}

/// <https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api>
async fn by_stages(
    connection: &mut Connection,
    token: Option<&str>,
    localpart: &str,
    password: &str,
) -> Result<bytes::Bytes, Failure> {
    let mut auth = None;
    for _ in 0..=MAX_STAGES {
        let mut request = json!({ "username": localpart, "password": password });
        if let Some(auth) = auth.take() {
            request["auth"] = auth;
        }
        let (status, body) = connection
            .exchange(
                Method::POST,
                "/_matrix/client/v3/register",
                None,
                client::json(&request)?,
            )
            .await?;
        if status.is_success() {
            return Ok(body);
        }
        if status != StatusCode::UNAUTHORIZED {
            let errcode = serde_json::from_slice::<Value>(&body)
                .ok()
                .and_then(|error| Some(error.get("errcode")?.as_str()?.to_owned()));
            return Err(Failure::Refused {
                status,
                errcode: errcode.unwrap_or_default(),
            });
        }
        let challenge: Challenge = serde_json::from_slice(&body)?;
        let stage = next_stage(&challenge, token.is_some()).ok_or(Failure::Incomplete(
            "a registration flow that this tool can follow",
        ))?;
        let mut answer = json!({ "type": stage, "session": challenge.session });
        if stage == "m.login.registration_token" {
            answer["token"] = json!(token);
        }
        auth = Some(answer);
    }
    Err(Failure::Incomplete("an end of the registration flow"))
}

/// The first stage still to be done in the first flow whose stages are all known here.
fn next_stage(challenge: &Challenge, with_token: bool) -> Option<&str> {
    let known = |stage: &String| {
        stage == "m.login.dummy" || (with_token && stage == "m.login.registration_token")
    };
    let flow = challenge
        .flows
        .iter()
        .find(|flow| flow.stages.iter().all(known))?;
    let open = flow
        .stages
        .iter()
        .find(|stage| !challenge.completed.contains(stage))?;
    Some(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_three_ways() {
        assert!(matches!("open".parse(), Ok(Registration::Open)));
        assert!(matches!("token:a:b".parse(), Ok(Registration::Token(token)) if token == "a:b"));
        let secret: Registration = "shared-secret:s".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "SharedSecret");
        for wrong in ["", "token", "token:", "shared-secret:", "opens", "other:x"] {
            assert!(wrong.parse::<Registration>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn computes_the_shared_secret_mac() {
        // From Python: hmac.new(b"secret", b"nonce\0alice\0pass\0notadmin", "sha1").hexdigest()
        let mac = shared_secret_mac("secret", "nonce", "alice", "pass");
        assert_eq!(mac, "4b8b27667e6fe6dd18d944050f8a62e5a37e2d99");
    }

    #[test]
    fn follows_the_flow_it_can_finish() {
        let challenge: Challenge = serde_json::from_value(json!({
            "session": "s",
            "completed": ["m.login.registration_token"],
            "flows": [
                { "stages": ["m.login.recaptcha", "m.login.dummy"] },
                { "stages": ["m.login.registration_token", "m.login.dummy"] },
            ],
        }))
        .unwrap();
        assert_eq!(next_stage(&challenge, true), Some("m.login.dummy"));
        assert_eq!(next_stage(&challenge, false), None);
    }
}
