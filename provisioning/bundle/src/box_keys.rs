//! The keys that a box makes for itself. They never leave it.

use std::{fmt, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData, SanType};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::{
    CertificateRequest, Error, Fingerprint, PublicKey, ServerName, SigningKey, SigningKeyId,
    certificate::certificate_fault,
    files::{self, Access},
    sealing,
};

const TLS_KEY_FILE: &str = "tls.key";
const SIGNING_KEY_FILE: &str = "matrix-signing.key";
const MAX_KEY_FILE: usize = 4096;

/// The TLS key (P-256) and the Matrix signing key (Ed25519) of a box.
pub struct BoxKeys {
    tls: KeyPair,
    signing: SigningKey,
    signing_key_id: SigningKeyId,
}

impl BoxKeys {
    /// Makes both keys and writes them into `folder`, readable by their owner alone.
    ///
    /// # Errors
    /// [`Error::Exists`] if there are keys already.
    pub fn generate(folder: &Path) -> Result<Self, Error> {
        files::create_folder(folder)?;
        let keys = Self::random()?;
        let tls = Zeroizing::new(keys.tls.serialize_pem());
        files::create(&folder.join(TLS_KEY_FILE), tls.as_bytes(), Access::Private)?;
        let signing = Zeroizing::new(format!(
            "ed25519 {} {}\n",
            keys.signing_key_id.version(),
            Zeroizing::new(STANDARD_NO_PAD.encode(keys.signing.seed())).as_str(),
        ));
        files::create(
            &folder.join(SIGNING_KEY_FILE),
            signing.as_bytes(),
            Access::Private,
        )?;
        Ok(keys)
    }

    /// Reads the keys that [`BoxKeys::generate`] wrote.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(TLS_KEY_FILE);
        let pem = Zeroizing::new(files::read(&path, MAX_KEY_FILE)?);
        let tls = std::str::from_utf8(&pem)
            .map_err(|_| certificate_fault("TLS key", "it is not PEM"))
            .and_then(|pem| {
                KeyPair::from_pem_and_sign_algo(pem, &rcgen::PKCS_ECDSA_P256_SHA256)
                    .map_err(|error| certificate_fault("TLS key", error))
            })?;
        let text = Zeroizing::new(files::read(&folder.join(SIGNING_KEY_FILE), MAX_KEY_FILE)?);
        let (signing_key_id, signing) = parse_signing_key(&text)
            .ok_or_else(|| certificate_fault("Matrix signing key", "its file is malformed"))?;
        Ok(Self {
            tls,
            signing,
            signing_key_id,
        })
    }

    /// Whether there are keys in `folder`.
    pub fn exist(folder: &Path) -> bool {
        folder.join(TLS_KEY_FILE).exists() || folder.join(SIGNING_KEY_FILE).exists()
    }

    /// The TLS key as a TLS stack takes it.
    pub fn tls_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.tls.serialize_der()).into()
    }

    /// SHA-256 of the TLS key's SubjectPublicKeyInfo.
    pub fn tls_key_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.tls.subject_public_key_info())
    }

    /// The id of the Matrix signing key.
    pub fn signing_key_id(&self) -> &SigningKeyId {
        &self.signing_key_id
    }

    /// The public half of the Matrix signing key.
    pub fn signing_public_key(&self) -> PublicKey {
        self.signing.public_key()
    }

    /// The Matrix signing key in PKCS #8 version 1, as Matrix libraries take it.
    pub fn signing_key_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.signing.to_pkcs8()
    }

    /// Asks for a certificate for `server_name`.
    pub fn certificate_request(
        &self,
        server_name: &ServerName,
    ) -> Result<CertificateRequest, Error> {
        let fault = |error: rcgen::Error| certificate_fault("certificate request", error);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, server_name.as_str());
        let name = server_name.as_str().try_into().map_err(fault)?;
        params.subject_alt_names = vec![SanType::DnsName(name)];
        let request = params.serialize_request(&self.tls).map_err(fault)?;
        CertificateRequest::from_der(request.der())
    }

    /// Opens what was sealed for the TLS key.
    pub(crate) fn open_sealed(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let own = Zeroizing::new(self.tls.serialize_der());
        sealing::open(&own, context, sealed)
    }

    /// Signs with the TLS key.
    pub(crate) fn sign_with_tls_key(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        rcgen::SigningKey::sign(&self.tls, message).map_err(|_| Error::Crypto("sign"))
    }

    /// Signs with the Matrix signing key.
    pub(crate) fn sign_with_signing_key(&self, message: &[u8]) -> Vec<u8> {
        self.signing.sign(message)
    }

    fn random() -> Result<Self, Error> {
        let tls = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|_| Error::Crypto("make a key"))?;
        let mut version = [0; 4];
        SystemRandom::new()
            .fill(&mut version)
            .map_err(|_| Error::Crypto("draw random numbers"))?;
        Ok(Self {
            tls,
            signing: SigningKey::generate()?,
            signing_key_id: format!("ed25519:a_{:08x}", u32::from_be_bytes(version)).parse()?,
        })
    }
}

impl fmt::Debug for BoxKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxKeys")
            .field("tls_key_fingerprint", &self.tls_key_fingerprint())
            .field("signing_key_id", &self.signing_key_id)
            .finish_non_exhaustive()
    }
}

/// Reads `ed25519 VERSION SEED`, one line, the seed in unpadded base64.
fn parse_signing_key(text: &[u8]) -> Option<(SigningKeyId, SigningKey)> {
    let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
    let (algorithm, version, seed) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let id = format!("{algorithm}:{version}").parse().ok()?;
    let bytes = Zeroizing::new(STANDARD_NO_PAD.decode(seed).ok()?);
    let mut seed = Zeroizing::new([0; 32]);
    if bytes.len() != seed.len() {
        return None;
    }
    seed.copy_from_slice(&bytes);
    Some((id, SigningKey::from_seed(seed).ok()?))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn keys_are_made_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("keys");
        assert!(!BoxKeys::exist(&folder));
        let keys = BoxKeys::generate(&folder).unwrap();
        assert!(BoxKeys::exist(&folder));
        for file in [TLS_KEY_FILE, SIGNING_KEY_FILE] {
            let mode = fs::metadata(folder.join(file))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        let again = BoxKeys::load(&folder).unwrap();
        assert_eq!(again.tls_key_fingerprint(), keys.tls_key_fingerprint());
        assert_eq!(again.signing_public_key(), keys.signing_public_key());
        assert_eq!(again.signing_key_id(), keys.signing_key_id());
        assert_eq!(again.signing_key_pkcs8(), keys.signing_key_pkcs8());
        assert_eq!(again.tls_key().secret_der(), keys.tls_key().secret_der());
        assert!(matches!(BoxKeys::generate(&folder), Err(Error::Exists(_))));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let keys = BoxKeys::generate(folder.path()).unwrap();
        let file = fs::read_to_string(folder.path().join(SIGNING_KEY_FILE)).unwrap();
        let seed = file.split_whitespace().last().unwrap();
        assert!(!format!("{keys:?}").contains(seed));
    }

    #[test]
    fn damaged_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        BoxKeys::generate(folder.path()).unwrap();
        let path = folder.path().join(SIGNING_KEY_FILE);
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            String::new(),
            good.replace("ed25519", "rsa"),
            good.trim_end()[..good.len() - 3].to_owned(),
            format!("{} more", good.trim_end()),
        ] {
            fs::write(&path, &bad).unwrap();
            assert!(BoxKeys::load(folder.path()).is_err(), "{bad:?} was taken");
        }
        fs::write(&path, good).unwrap();
        BoxKeys::load(folder.path()).unwrap();
        fs::write(folder.path().join(TLS_KEY_FILE), "no key").unwrap();
        assert!(BoxKeys::load(folder.path()).is_err());
    }
}
