//! Where passphrases come from.

use zeroize::Zeroizing;

use crate::{Error, KeyName};

/// The shortest passphrase that is taken for a new key, in characters.
pub const MIN_PASSPHRASE: usize = 12;

/// A passphrase, wiped from memory when it is no longer needed.
pub type Passphrase = Zeroizing<String>;

/// Whoever can ask the holders of keys for their passphrases.
pub trait Passphrases {
    /// A passphrase for a new key.
    fn choose(&self, key: KeyName) -> Result<Passphrase, Error>;

    /// The passphrase of a key. `None` if its holder does not take part.
    fn ask(&self, key: KeyName) -> Result<Option<Passphrase>, Error>;
}

/// One passphrase for every key: for tests, demonstrations, and authorities of one person.
#[derive(Clone)]
pub struct SamePassphrase(Passphrase);

impl SamePassphrase {
    /// Answers with `passphrase`, whatever the key.
    pub fn new(passphrase: impl Into<String>) -> Self {
        Self(Zeroizing::new(passphrase.into()))
    }
}

impl std::fmt::Debug for SamePassphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SamePassphrase")
    }
}

impl Passphrases for SamePassphrase {
    fn choose(&self, _: KeyName) -> Result<Passphrase, Error> {
        Ok(self.0.clone())
    }

    fn ask(&self, _: KeyName) -> Result<Option<Passphrase>, Error> {
        Ok(Some(self.0.clone()))
    }
}
