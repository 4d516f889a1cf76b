//! Argon2id, off the async threads and only so many at a time.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{self, PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::{OnceCell, Semaphore};
use zeroize::Zeroizing;

use crate::{Config, Error, Result};

/// Longer passwords only cost time.
const MAX_BYTES: usize = 512;

#[derive(Debug)]
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    running: Arc<Semaphore>,
    min_length: usize,
    /// What is checked where there is no hash, so that the time taken does not tell whether an account exists.
    decoy: OnceCell<String>,
}

impl Passwords {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let cost = config.password_cost;
        let params =
            Params::new(cost.memory_kib, cost.passes, cost.lanes, None).map_err(hashing)?;
        Ok(Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            running: Arc::new(Semaphore::new(config.password_concurrency.max(1))),
            min_length: config.password_min_length,
            decoy: OnceCell::new(),
        })
    }

    /// Refuses passwords that are too short, or too long to be worth hashing.
    pub(crate) fn check_strength(&self, password: &str) -> Result<()> {
        if password.chars().count() < self.min_length {
            return Err(Error::WeakPassword(format!(
                "shorter than {} characters",
                self.min_length
            )));
        }
        if password.len() > MAX_BYTES {
            return Err(Error::WeakPassword(format!(
                "longer than {MAX_BYTES} bytes"
            )));
        }
        Ok(())
    }

    /// The hash to store, in PHC form, with a random salt.
    pub(crate) async fn hash(&self, password: String) -> Result<String> {
        let password = Zeroizing::new(password);
        self.run(move |argon2| {
            let hash = argon2.hash_password(password.as_bytes()).map_err(hashing)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether a password is the one that was hashed; `false`, after the same time, where there is no hash.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        if password.len() > MAX_BYTES {
            return Ok(false);
        }
        let exists = hash.is_some();
        let hash = match hash {
            Some(hash) => hash,
            None => self.decoy().await?,
        };
        let password = Zeroizing::new(password);
        let matches = self
            .run(move |argon2| {
                let hash = PasswordHash::new(&hash).map_err(hashing)?;
                match argon2.verify_password(password.as_bytes(), &hash) {
                    Ok(()) => Ok(true),
                    Err(password_hash::Error::PasswordInvalid) => Ok(false),
                    Err(error) => Err(hashing(error)),
                }
            })
            .await?;
        Ok(matches && exists)
    }

    async fn decoy(&self) -> Result<String> {
        let decoy = self
            .decoy
            .get_or_try_init(|| self.hash("no account has this password".to_owned()))
            .await?;
        Ok(decoy.clone())
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(hashing)?;
        let argon2 = self.argon2.clone();
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&argon2);
            drop(permit);
            result
        });
        task.await.map_err(hashing)?
    }
}

fn hashing(error: impl ToString) -> Error {
    Error::Hashing(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PasswordCost;

    fn passwords() -> Passwords {
        Passwords::new(&Config {
            password_cost: PasswordCost::cheap(),
            ..Config::default()
        })
        .unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_verifies() {
        let passwords = passwords();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
        let verify = async |word: &str, hash: Option<&str>| {
            passwords
                .verify(word.to_owned(), hash.map(ToOwned::to_owned))
                .await
                .unwrap()
        };
        assert!(verify("correct horse", Some(&hash)).await);
        assert!(!verify("Correct horse", Some(&hash)).await);
        assert!(!verify("no account has this password", None).await);
        assert!(!verify(&"x".repeat(MAX_BYTES + 1), Some(&hash)).await);
    }

    #[tokio::test]
    async fn a_hash_keeps_verifying_when_the_cost_changes() {
        let hash = passwords().hash("correct horse".to_owned()).await.unwrap();
        let dearer = Passwords::new(&Config {
            password_cost: PasswordCost {
                memory_kib: 64,
                passes: 2,
                lanes: 1,
            },
            ..Config::default()
        })
        .unwrap();
        assert!(
            dearer
                .verify("correct horse".to_owned(), Some(hash))
                .await
                .unwrap()
        );
    }

    #[test]
    fn length_is_what_makes_a_password_weak() {
        let passwords = passwords();
        assert!(passwords.check_strength("1234567").is_err());
        assert!(passwords.check_strength("ÄÖÜßéèêë").is_ok());
        assert!(
            passwords
                .check_strength(&"x".repeat(MAX_BYTES + 1))
                .is_err()
        );
    }

    #[test]
    fn an_impossible_cost_is_refused() {
        let config = Config {
            password_cost: PasswordCost {
                memory_kib: 0,
                passes: 0,
                lanes: 0,
            },
            ..Config::default()
        };
        assert!(matches!(Passwords::new(&config), Err(Error::Hashing(_))));
    }
}
