use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

/// The relay that takes e-mails: links for users who add an address or forgot their password. Without this section the box
/// sends none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// `smtps://host:465`, or `smtp://host:25`, with `?tls=required` for STARTTLS.
    pub relay: Url,
    /// Who the e-mails are from: `Name <address>`.
    pub from: String,
    /// The user name at the relay, where it wants one.
    #[serde(default)]
    pub user: Option<String>,
    /// A file with the password for it.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

impl Email {
    pub(super) fn check(&self) -> Result<(), String> {
        if !matches!(self.relay.scheme(), "smtp" | "smtps") {
            return Err("email.relay must be an smtp: or smtps: URL".to_owned());
        }
        if self.user.is_some() != self.password_file.is_some() {
            return Err("email.user and email.password_file go together".to_owned());
        }
        Ok(())
    }
}
