use std::path::PathBuf;

use serde::Deserialize;

/// Who may make an account. By default only the operator, with `luxchat-appliance user create`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registration {
    /// Anybody who reaches the box.
    pub open: bool,
    /// Whoever has a registration token from the operator.
    pub tokens: bool,
    /// Guests: anybody, for an account with which they may do little.
    pub guests: bool,
    /// Programs that know the secret in this file, through `/_synapse/admin/v1/register`.
    pub shared_secret_file: Option<PathBuf>,
    /// The shortest password that a user may choose, in characters.
    pub password_min_length: usize,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            open: false,
            tokens: false,
            guests: false,
            shared_secret_file: None,
            password_min_length: 8,
        }
    }
}

impl Registration {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.open && self.tokens {
            return Err("registration.open and registration.tokens exclude each other".to_owned());
        }
        Ok(())
    }
}
