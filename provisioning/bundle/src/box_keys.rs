//! The keys that a box makes for itself. They never leave it.

use std::{fmt, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, SigningKey};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::{
    CertificateRequest, Error, Fingerprint, PublicKey, ServerName, SigningKeyId,
    certificate::certificate_fault,
    files::{self, Access},
};

const TLS_KEY_FILE: &str = "tls.key";
const SIGNING_KEY_FILE: &str = "matrix-signing.key";
const MAX_KEY_FILE: usize = 4096;

/// PKCS #8 version 1 around the 32 bytes of an Ed25519 seed (RFC 8410).
const ED25519_PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The TLS key (P-256) and the Matrix signing key (Ed25519) of a box.
pub struct BoxKeys {
    tls: KeyPair,
    signing: Ed25519KeyPair,
    signing_seed: Zeroizing<[u8; 32]>,
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
            Zeroizing::new(STANDARD_NO_PAD.encode(*keys.signing_seed)).as_str(),
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
        let (signing_key_id, signing_seed) = parse_signing_key(&text)
            .ok_or_else(|| certificate_fault("Matrix signing key", "its file is malformed"))?;
        Self::from_parts(tls, signing_key_id, signing_seed)
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
        use rcgen::PublicKeyData;
        Fingerprint::of(&self.tls.subject_public_key_info())
    }

    /// The id of the Matrix signing key.
    pub fn signing_key_id(&self) -> &SigningKeyId {
        &self.signing_key_id
    }

    /// The public half of the Matrix signing key.
    pub fn signing_public_key(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.signing.public_key().as_ref());
        PublicKey::from_bytes(bytes)
    }

    /// The Matrix signing key in PKCS #8 version 1, as Matrix libraries take it.
    pub fn signing_key_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(48));
        der.extend_from_slice(&ED25519_PKCS8_PREFIX);
        der.extend_from_slice(&*self.signing_seed);
        der
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

    /// Signs with the TLS key.
    pub(crate) fn sign_with_tls_key(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        SigningKey::sign(&self.tls, message).map_err(|_| Error::Crypto("sign"))
    }

    /// Signs with the Matrix signing key.
    pub(crate) fn sign_with_signing_key(&self, message: &[u8]) -> Vec<u8> {
        self.signing.sign(message).as_ref().to_vec()
    }

    fn random() -> Result<Self, Error> {
        let tls = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|_| Error::Crypto("make a key"))?;
        let mut seed = Zeroizing::new([0; 32]);
        let mut version = [0; 4];
        let rng = SystemRandom::new();
        rng.fill(&mut *seed)
            .and_then(|()| rng.fill(&mut version))
            .map_err(|_| Error::Crypto("draw random numbers"))?;
        let id = format!("ed25519:a_{:08x}", u32::from_be_bytes(version));
        Self::from_parts(tls, id.parse()?, seed)
    }

    fn from_parts(
        tls: KeyPair,
        signing_key_id: SigningKeyId,
        signing_seed: Zeroizing<[u8; 32]>,
    ) -> Result<Self, Error> {
        let signing = Ed25519KeyPair::from_seed_unchecked(&*signing_seed)
            .map_err(|_| certificate_fault("Matrix signing key", "it is not an Ed25519 seed"))?;
        Ok(Self {
            tls,
            signing,
            signing_seed,
            signing_key_id,
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
fn parse_signing_key(text: &[u8]) -> Option<(SigningKeyId, Zeroizing<[u8; 32]>)> {
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
    Some((id, seed))
}
