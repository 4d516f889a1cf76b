//! The homeservers under test.

use std::env;

use anyhow::{Context as _, Result};

use crate::Registration;

/// Two homeservers that federate, or the same one twice.
#[derive(Debug)]
pub struct Servers {
    pub a: Homeserver,
    pub b: Homeserver,
}

/// Where a homeserver answers clients, and how it gives out accounts.
#[derive(Debug)]
pub struct Homeserver {
    pub base_url: String,
    pub registration: Registration,
}

impl Servers {
    /// Reads `LUXCHAT_A` and `LUXCHAT_B`, the base URLs, and `LUXCHAT_A_REGISTRATION` and `LUXCHAT_B_REGISTRATION`:
    /// `shared-secret:SECRET`, `token:TOKEN` or `open`.
    pub fn from_env() -> Result<Self> {
        Ok(Self {
            a: Homeserver::from_env("LUXCHAT_A")?,
            b: Homeserver::from_env("LUXCHAT_B")?,
        })
    }
}

impl Homeserver {
    fn from_env(name: &str) -> Result<Self> {
        let base_url = env::var(name)
            .with_context(|| format!("{name} is not set; tests/interop/run sets it"))?;
        let registration_name = format!("{name}_REGISTRATION");
        let registration = env::var(&registration_name)
            .with_context(|| format!("{registration_name} is not set"))?
            .parse()?;
        Ok(Self {
            base_url,
            registration,
        })
    }
}
