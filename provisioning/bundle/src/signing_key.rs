//! Ed25519 keys, as they sign Matrix events and the repository.

use std::fmt;

use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use zeroize::Zeroizing;

use crate::{Error, PublicKey, certificate::certificate_fault};

/// PKCS #8 version 1 around the 32 bytes of an Ed25519 seed (RFC 8410).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// An Ed25519 key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
}

impl SigningKey {
    /// Makes a key.
    pub fn generate() -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(&mut *seed)
            .map_err(|_| Error::Crypto("draw random numbers"))?;
        Self::from_seed(seed)
    }

    /// The key that grows from `seed`.
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Result<Self, Error> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| Error::Crypto("use a key"))?;
        Ok(Self { pair, seed })
    }

    /// Reads a key from PKCS #8 version 1.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let seed = der
            .strip_prefix(&PKCS8_PREFIX)
            .and_then(|seed| <[u8; 32]>::try_from(seed).ok())
            .ok_or_else(|| certificate_fault("key", "it is not an Ed25519 key in PKCS #8"))?;
        Self::from_seed(Zeroizing::new(seed))
    }

    /// The key in PKCS #8 version 1, as Matrix libraries take it.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + self.seed.len()));
        der.extend_from_slice(&PKCS8_PREFIX);
        der.extend_from_slice(&*self.seed);
        der
    }

    /// The seed.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey::from_bytes(bytes)
    }

    /// Signs `message`: 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey")
            .field(&self.public_key())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_encoding_and_signs() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pkcs8(&key.to_pkcs8()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        let signature = again.sign(b"message");
        assert!(key.public_key().verifies(b"message", &signature));
        assert!(!key.public_key().verifies(b"massage", &signature));
        assert!(!format!("{key:?}").contains(&format!("{:?}", key.seed())));
        assert!(SigningKey::from_pkcs8(&key.to_pkcs8()[..47]).is_err());
        assert!(SigningKey::from_pkcs8(b"").is_err());
    }

    #[test]
    fn ring_reads_the_encoding() {
        let key = SigningKey::generate().unwrap();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key.to_pkcs8()).unwrap();
        assert_eq!(pair.public_key().as_ref(), key.public_key().as_bytes());
    }
}
