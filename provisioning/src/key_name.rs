//! How the authority's keys are called.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The name of one of the authority's keys, which is also that of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyName {
    /// Signs certificates.
    CertificateAuthority,
    /// One of those that sign the root of trust.
    Root(u16),
    /// One of those that sign who is a member.
    Targets(u16),
    /// Signs the dates and versions of a publication.
    Publishing(u16),
}

impl KeyName {
    /// What the key signs, or `None` for certificates.
    pub fn role(self) -> Option<KeyRole> {
        match self {
            Self::CertificateAuthority => None,
            Self::Root(_) => Some(KeyRole::Root),
            Self::Targets(_) => Some(KeyRole::Targets),
            Self::Publishing(_) => Some(KeyRole::Publishing),
        }
    }
}

/// What a key signs in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyRole {
    /// The root of trust.
    Root,
    /// The list of targets, and so the member list.
    Targets,
    /// The snapshot and the timestamp.
    Publishing,
}

impl KeyRole {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Root, Self::Targets, Self::Publishing];

    /// The `number`th key of this role.
    pub fn key(self, number: u16) -> KeyName {
        match self {
            Self::Root => KeyName::Root(number),
            Self::Targets => KeyName::Targets(number),
            Self::Publishing => KeyName::Publishing(number),
        }
    }

    /// The role in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Publishing => "publishing",
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertificateAuthority => f.write_str("certificate-authority"),
            Self::Root(number) => write!(f, "root-{number}"),
            Self::Targets(number) => write!(f, "targets-{number}"),
            Self::Publishing(number) => write!(f, "publishing-{number}"),
        }
    }
}

impl FromStr for KeyName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let fault = || Error::KeyName(name.chars().take(40).collect());
        let parsed = if name == "certificate-authority" {
            Self::CertificateAuthority
        } else {
            let (role, number) = name.split_once('-').ok_or_else(fault)?;
            let number = number.parse().map_err(|_| fault())?;
            let role = KeyRole::ALL
                .into_iter()
                .find(|it| it.as_str() == role)
                .ok_or_else(fault)?;
            role.key(number)
        };
        // One spelling: no signs, no leading zeros.
        if parsed.to_string() == name {
            Ok(parsed)
        } else {
            Err(fault())
        }
    }
}

impl TryFrom<String> for KeyName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in [
            "certificate-authority",
            "root-1",
            "targets-65535",
            "publishing-3",
        ] {
            assert_eq!(name.parse::<KeyName>().unwrap().to_string(), name);
        }
        for bad in [
            "",
            "root",
            "root-",
            "root-01",
            "root-+1",
            "root-65536",
            "Root-1",
            "../root-1",
        ] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad:?} was taken");
        }
    }
}
