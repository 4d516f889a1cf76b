//! Private keys at rest: PKCS #8, encrypted under a passphrase.

use luxchat_bundle::files::{self, Access};
use pkcs8::{
    EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument,
    der::pem::LineEnding,
    pkcs5::{pbes2, scrypt},
};
use ring::rand::{SecureRandom, SystemRandom};
use std::path::Path;
use zeroize::Zeroizing;

use crate::{Error, KeyName, MIN_PASSPHRASE, Passphrase};

const LABEL: &str = "ENCRYPTED PRIVATE KEY";
const MAX_BYTES: usize = 16 * 1024;

/// How much work it is to try one passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyCost {
    /// The exponent of scrypt's N; r is 8 and p is 1.
    log_n: u8,
}

impl KeyCost {
    /// 128 MiB of memory and some tenths of a second.
    pub const STANDARD: Self = Self { log_n: 17 };
    /// Next to nothing: for keys that protect nothing, in tests and demonstrations.
    pub const NEGLIGIBLE: Self = Self { log_n: 4 };
}

/// Refuses a passphrase that is too short for a new key.
pub(crate) fn check(name: KeyName, passphrase: &Passphrase) -> Result<(), Error> {
    if passphrase.chars().count() < MIN_PASSPHRASE {
        return Err(Error::WeakPassphrase(name));
    }
    Ok(())
}

/// Encrypts a PKCS #8 key (scrypt, AES-256-CBC) and writes it as PEM into a new file.
pub(crate) fn write(
    path: &Path,
    name: KeyName,
    pkcs8: &[u8],
    passphrase: &Passphrase,
    cost: KeyCost,
) -> Result<(), Error> {
    check(name, passphrase)?;
    let fault = || luxchat_bundle::Error::Crypto("encrypt a key");
    let mut salt = [0; 16];
    let mut iv = [0; 16];
    let rng = SystemRandom::new();
    rng.fill(&mut salt)
        .and_then(|()| rng.fill(&mut iv))
        .map_err(|_| fault())?;
    let scrypt = scrypt::Params::new(cost.log_n, 8, 1).map_err(|_| fault())?;
    let pem = pbes2::Parameters::generate_scrypt_aes256cbc(scrypt, &salt, iv)
        .map_err(pkcs8::Error::from)
        .and_then(|parameters| {
            PrivateKeyInfoRef::try_from(pkcs8)?
                .encrypt_with_params(parameters, passphrase.as_bytes())
        })
        .map_err(|_| fault())?
        .to_pem(LABEL, LineEnding::LF)
        .map_err(|_| fault())?;
    Ok(files::create(path, pem.as_bytes(), Access::Private)?)
}

/// Reads and decrypts what [`write`] wrote.
pub(crate) fn read(
    path: &Path,
    name: KeyName,
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let fault = || Error::WrongPassphrase(name);
    let text = files::read(path, MAX_BYTES)?;
    let text = std::str::from_utf8(&text).map_err(|_| fault())?;
    let (label, document) = SecretDocument::from_pem(text).map_err(|_| fault())?;
    if label != LABEL {
        return Err(fault());
    }
    let key = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|_| fault())?
        .decrypt(passphrase.as_bytes())
        .map_err(|_| fault())?;
    Ok(Zeroizing::new(key.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use luxchat_bundle::SigningKey;

    use super::*;

    #[test]
    fn only_the_passphrase_opens_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root-1.pem");
        let key = SigningKey::generate().unwrap();
        let name = KeyName::Root(1);
        let passphrase = Zeroizing::new("correct horse battery".to_owned());
        let write = |passphrase: &Passphrase| {
            super::write(
                &path,
                name,
                &key.to_pkcs8(),
                passphrase,
                KeyCost::NEGLIGIBLE,
            )
        };
        assert!(matches!(
            write(&Zeroizing::new("short".to_owned())),
            Err(Error::WeakPassphrase(_))
        ));
        write(&passphrase).unwrap();
        assert!(write(&passphrase).is_err(), "a key file was overwritten");
        assert_eq!(*read(&path, name, &passphrase).unwrap(), *key.to_pkcs8());
        let wrong = Zeroizing::new("correct horse batterz".to_owned());
        let error = read(&path, name, &wrong).unwrap_err();
        assert_eq!(
            error.to_string(),
            "wrong passphrase for root-1, or its file is damaged"
        );
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(read(&path, name, &passphrase).is_err());
    }
}
