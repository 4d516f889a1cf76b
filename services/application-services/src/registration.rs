//! What an operator writes down about an application service.

use std::{fmt, path::Path};

use ruma::{OwnedUserId, ServerName, UserId};
use serde::Deserialize;
use url::Url;

use crate::namespace::{Namespaces, Written};

/// A file longer than this is no registration.
const MAX_BYTES: usize = 1024 * 1024;

/// The shortest token that cannot be guessed, in bytes. Tools generate much longer ones; people write shorter ones.
const MIN_TOKEN: usize = 8;

/// An application service, as its registration has it.
/// [Format](https://spec.matrix.org/v1.19/application-service-api/#registration).
#[derive(Clone)]
pub struct Registration {
    /// Its name, which never changes.
    pub id: String,
    /// Where it is reached; `None`: it wants nothing sent.
    pub url: Option<Url>,
    /// The token by which it proves who it is.
    pub as_token: String,
    /// The token by which this server proves to it who it is.
    pub hs_token: String,
    /// The user that it acts as where it names none.
    pub sender: OwnedUserId,
    /// What it cares for.
    pub namespaces: Namespaces,
    /// Whether the users it acts as are limited as others are. Its own never is.
    pub rate_limited: bool,
    /// Whether it wants to know of typing, receipts and presence.
    pub receive_ephemeral: bool,
    /// The third-party networks that it serves.
    pub protocols: Vec<String>,
}

/// Why a registration was refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RegistrationError(pub(crate) String);

/// The file. Unknown keys are other servers' business: bridges generate one file for all.
#[derive(Deserialize)]
struct File {
    id: String,
    url: Option<String>,
    as_token: String,
    hs_token: String,
    sender_localpart: String,
    namespaces: Written,
    #[serde(default = "yes")]
    rate_limited: bool,
    #[serde(default)]
    receive_ephemeral: bool,
    /// What it was called before it was in the specification.
    #[serde(default)]
    push_ephemeral: bool,
    /// What it was called before that.
    #[serde(default, rename = "de.sorunome.msc2409.push_ephemeral")]
    push_ephemeral_at_first: bool,
    #[serde(default)]
    protocols: Option<Vec<String>>,
}

fn yes() -> bool {
    true
}

impl Registration {
    /// Reads a registration file.
    ///
    /// # Errors
    ///
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path, server_name: &ServerName) -> Result<Self, RegistrationError> {
        let at = |why: String| RegistrationError(format!("{}: {why}", path.display()));
        let size = std::fs::metadata(path).map_err(|error| at(error.to_string()))?;
        if size.len() > MAX_BYTES as u64 {
            return Err(at(format!("longer than {MAX_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| at(error.to_string()))?;
        Self::parse(&text, server_name).map_err(|RegistrationError(why)| at(why))
    }

    /// Parses the text of one.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(yaml: &str, server_name: &ServerName) -> Result<Self, RegistrationError> {
        let refused = |why: &str| RegistrationError(why.to_owned());
        let file: File =
            serde_saphyr::from_str(yaml).map_err(|error| RegistrationError(error.to_string()))?;
        if file.id.is_empty() || file.id.contains('|') {
            return Err(refused("id must not be empty, nor contain '|'"));
        }
        for (key, token) in [("as_token", &file.as_token), ("hs_token", &file.hs_token)] {
            let is_token = |byte: u8| byte.is_ascii_graphic();
            if token.len() < MIN_TOKEN || !token.bytes().all(is_token) {
                return Err(RegistrationError(format!(
                    "{key} must be at least {MIN_TOKEN} characters of visible ASCII"
                )));
            }
        }
        let sender = UserId::parse_with_server_name(file.sender_localpart, server_name)
            .map_err(|error| RegistrationError(format!("sender_localpart: {error}")))?;
        Ok(Self {
            id: file.id,
            url: file.url.as_deref().map_or(Ok(None), url)?,
            as_token: file.as_token,
            hs_token: file.hs_token,
            sender,
            namespaces: Namespaces::compile(file.namespaces).map_err(RegistrationError)?,
            rate_limited: file.rate_limited,
            receive_ephemeral: file.receive_ephemeral
                || file.push_ephemeral
                || file.push_ephemeral_at_first,
            protocols: file.protocols.unwrap_or_default(),
        })
    }
}

fn url(written: &str) -> Result<Option<Url>, RegistrationError> {
    if written.is_empty() {
        return Ok(None);
    }
    let refused = |why: String| RegistrationError(format!("url {written:?}: {why}"));
    let url = Url::parse(written).map_err(|error| refused(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refused("must begin with http:// or https://".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("must end with the path".to_owned()));
    }
    Ok(Some(url))
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("id", &self.id)
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    const IRC: &str = r##"
id: "IRC Bridge"
url: "http://127.0.0.1:1234"
as_token: "30c05ae90a248a4188e620216fa72e349803310ec83e2a77b34fe90be6081f46"
hs_token: "312df522183efd404ec1cd22d2ffa4bbc76a8c1ccf541dd692eef281356bb74e"
sender_localpart: "_irc_bot" # Will result in @_irc_bot:example.org
de.sorunome.msc2409.push_ephemeral: true
push_ephemeral: true
namespaces:
  users:
    - exclusive: true
      regex: "@_irc_bridge_.*"
  aliases:
    - exclusive: false
      regex: "#_irc_bridge_.*"
  rooms: []
"##;

    fn parse(yaml: &str) -> Result<Registration, String> {
        Registration::parse(yaml, server_name!("example.org")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        let irc = parse(IRC).unwrap();
        assert_eq!(irc.sender, "@_irc_bot:example.org");
        assert_eq!(irc.url.unwrap().as_str(), "http://127.0.0.1:1234/");
        assert!(irc.rate_limited && irc.receive_ephemeral);
        assert_eq!(irc.namespaces.users.len(), 1);
        let silent = parse(&IRC.replace("\"http://127.0.0.1:1234\"", "null")).unwrap();
        assert_eq!(silent.url, None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (right, wrong, expected) in [
            ("@_irc_bridge_.*", "@(", "regex"),
            ("http://127", "ftp://127", "http"),
            ("\"_irc_bot\"", "\"a b:c\"", "sender_localpart"),
            ("as_token", "as_tokens", "as_token"),
            (
                "312df522183efd404ec1cd22d2ffa4bbc76a8c1ccf541dd692eef281356bb74e",
                "",
                "hs_token",
            ),
            ("\"IRC Bridge\"", "\"a|b\"", "id"),
            ("exclusive: true", "exclusive: 7", "exclusive"),
        ] {
            let message = parse(&IRC.replace(right, wrong)).unwrap_err();
            assert!(message.contains(expected), "{wrong}: {message}");
        }
    }
}
