//! `authority.toml`: what an officer may change by hand.

use luxchat_bundle::files;
use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::Error;

const MAX_BYTES: usize = 64 * 1024;

/// How long what the authority signs is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The name in the authority's certificate.
    pub name: String,
    /// How many days a member's certificate is valid.
    pub certificate_days: u32,
    /// How many days the authority's own certificate is valid.
    pub authority_days: u32,
    /// How many days each part of the repository is good for.
    pub repository_days: RepositoryDays,
}

/// How many days each part of the repository is good for. A box that is not given a newer
/// repository within the shortest of them no longer lets any peer in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryDays {
    /// The root of trust: who holds which key.
    pub root: u32,
    /// The member list.
    pub targets: u32,
    /// Which versions belong together.
    pub snapshot: u32,
    /// That this is the newest publication.
    pub timestamp: u32,
}

impl Settings {
    /// The settings of a new authority. Certificates and publications last a quarter, so that one
    /// visit with a stick in a quarter keeps a box without network going.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            certificate_days: 90,
            authority_days: 3653,
            repository_days: RepositoryDays {
                root: 1096,
                targets: 180,
                snapshot: 90,
                timestamp: 90,
            },
        }
    }

    /// Reads the settings of an authority.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = files::read(path, MAX_BYTES)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::Settings("they are not UTF-8 text".to_owned()))?;
        let settings: Self =
            toml::from_str(&text).map_err(|error| Error::Settings(error.to_string()))?;
        settings.check()?;
        Ok(settings)
    }

    /// The settings as text.
    pub(crate) fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|error| Error::Settings(error.to_string()))
    }

    /// Refuses what is out of range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let days = &self.repository_days;
        for (name, days, limit) in [
            ("certificate_days", self.certificate_days, 825),
            ("authority_days", self.authority_days, 36_525),
            ("repository_days.root", days.root, 3653),
            ("repository_days.targets", days.targets, 3653),
            ("repository_days.snapshot", days.snapshot, 3653),
            ("repository_days.timestamp", days.timestamp, 3653),
        ] {
            if !(1..=limit).contains(&days) {
                return Err(Error::Settings(format!(
                    "{name} is {days}: it must lie between 1 and {limit}"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_round_trip_and_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authority.toml");
        let settings = Settings::new("Nation");
        let text = settings.to_toml().unwrap();
        std::fs::write(&path, &text).unwrap();
        assert_eq!(Settings::read(&path).unwrap(), settings);

        std::fs::write(&path, text.replace("targets = 180", "targets = 0")).unwrap();
        let error = Settings::read(&path).unwrap_err().to_string();
        assert!(error.contains("repository_days.targets is 0"), "{error}");

        std::fs::write(&path, format!("colour = 1\n{text}")).unwrap();
        let error = Settings::read(&path).unwrap_err().to_string();
        assert!(error.contains("colour"), "{error}");
    }
}
