//! Argon2id, off the async threads and only so many at a time.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use tokio::sync::{OnceCell, Semaphore};
use zeroize::Zeroizing;

use crate::{Config, Error, Result};

const ALGORITHM: Algorithm = Algorithm::Argon2id;
const VERSION: Version = Version::V0x13;

/// Passwords that may wait to be hashed, some seconds' worth of work; whoever comes then is told to come back.
const MAX_WAITING: usize = 256;
const COME_BACK: Duration = Duration::from_secs(5);

/// Longer passwords only cost time.
const MAX_BYTES: usize = 512;

/// What is asked for in one piece of this size or more, glibc maps for that purpose and unmaps when it is dropped. Smaller
/// pieces it comes to serve from the arena of the thread that asks (the threshold adapts, but never beyond this), where
/// aligned ones as these do not fit into each other's place: measured, an arena keeps six of them for good.
const UNMAPPED_BYTES: usize = 32 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    running: Arc<Semaphore>,
    waiting: Semaphore,
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
            argon2: Argon2::new(ALGORITHM, VERSION, params),
            running: Arc::new(Semaphore::new(config.password_concurrency.max(1))),
            waiting: Semaphore::new(MAX_WAITING),
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
            let salt = Salt::generate();
            let hash = PasswordHash {
                algorithm: ALGORITHM.ident(),
                version: Some(VERSION.into()),
                params: ParamsString::try_from(argon2.params()).map_err(hashing)?,
                salt: Some(salt),
                hash: Some(compute(argon2, password.as_bytes(), &salt)?),
            };
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
            .run(move |_| {
                let known = PasswordHash::new(&hash).map_err(hashing)?;
                let (Some(salt), Some(expected)) = (&known.salt, &known.hash) else {
                    return Err(hashing("the stored hash is incomplete"));
                };
                // Outputs compare in constant time.
                Ok(compute(&argon2_of(&known)?, password.as_bytes(), salt)? == *expected)
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
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Err(Error::TryLater(COME_BACK));
        };
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

/// Argon2 at the cost that a hash was computed with.
fn argon2_of(hash: &PasswordHash) -> Result<Argon2<'static>> {
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(hashing)?;
    let version = hash.version.map(Version::try_from).transpose();
    let version = version.map_err(hashing)?.unwrap_or_default();
    let params = Params::try_from(hash).map_err(hashing)?;
    Ok(Argon2::new(algorithm, version, params))
}

/// Runs Argon2 in memory that goes back to the system. Of what is reserved for that, only the blocks are touched.
fn compute(argon2: &Argon2<'_>, password: &[u8], salt: &Salt) -> Result<Output> {
    let params = argon2.params();
    let blocks = params.block_count();
    let mut memory = Vec::with_capacity(blocks.max(UNMAPPED_BYTES / Block::SIZE));
    memory.resize(blocks, Block::new());
    let mut output = vec![0; params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN)];
    argon2
        .hash_password_into_with_memory(password, salt, &mut output, &mut memory)
        .map_err(hashing)?;
    Output::new(&output).map_err(hashing)
}

fn hashing(error: impl ToString) -> Error {
    Error::Hashing(error.to_string())
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHasher, PasswordVerifier};

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

    #[tokio::test]
    async fn hashes_are_those_of_any_argon2() {
        let foreign = Argon2::new(ALGORITHM, VERSION, Params::new(64, 2, 1, None).unwrap())
            .hash_password(b"correct horse")
            .unwrap();
        let passwords = passwords();
        let verified = passwords.verify("correct horse".to_owned(), Some(foreign.to_string()));
        assert!(verified.await.unwrap());

        let own = passwords.hash("correct horse".to_owned()).await.unwrap();
        let own = PasswordHash::new(&own).unwrap();
        assert!(
            Argon2::default()
                .verify_password(b"correct horse", &own)
                .is_ok()
        );
        assert!(
            Argon2::default()
                .verify_password(b"wrong horse", &own)
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_hash_that_is_none_is_an_error() {
        let passwords = passwords();
        for hash in ["", "plain", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ"] {
            let verified = passwords.verify("x".to_owned(), Some(hash.to_owned()));
            assert!(matches!(verified.await, Err(Error::Hashing(_))));
        }
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
