//! Bytes that only the holder of one P-256 key can read.
//!
//! An ephemeral key of the same curve is agreed upon with the holder's (ECDH); HKDF-SHA256 over both public keys makes an
//! AES-256-GCM key that is used once.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    hkdf::{HKDF_SHA256, Salt},
};
use zeroize::Zeroizing;

use crate::Error;

const SALT: &[u8] = b"luxchat sealed key v1";
/// An uncompressed point.
const POINT: usize = 65;

/// Seals `secret` for the holder of `recipient`, an uncompressed point. What `context` says must be said again to open it.
pub(crate) fn seal(recipient: &[u8], context: &[u8], secret: &[u8]) -> Result<Vec<u8>, Error> {
    let fault = || Error::Crypto("seal a key");
    let ephemeral = PrivateKey::generate(&ECDH_P256).map_err(|_| fault())?;
    let public = ephemeral.compute_public_key().map_err(|_| fault())?;
    let key = agreed_key(&ephemeral, recipient, public.as_ref(), recipient).ok_or_else(fault)?;
    let mut sealed = Zeroizing::new(secret.to_vec());
    key.seal_in_place_append_tag(nonce(), Aad::from(context), &mut *sealed)
        .map_err(|_| fault())?;
    let mut out = public.as_ref().to_vec();
    out.extend_from_slice(&sealed);
    Ok(out)
}

/// Opens what was sealed for the holder of the PKCS #8 key `own`. `None` if it was sealed for another, with another context,
/// or changed.
pub(crate) fn open(own: &[u8], context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (ephemeral, sealed) = sealed.split_at_checked(POINT)?;
    let own = PrivateKey::from_private_key_der(&ECDH_P256, own).ok()?;
    let recipient = own.compute_public_key().ok()?;
    let key = agreed_key(&own, ephemeral, ephemeral, recipient.as_ref())?;
    let mut bytes = Zeroizing::new(sealed.to_vec());
    let length = key
        .open_in_place(nonce(), Aad::from(context), &mut bytes)
        .ok()?
        .len();
    bytes.truncate(length);
    Some(bytes)
}

fn agreed_key(
    own: &PrivateKey,
    theirs: &[u8],
    ephemeral: &[u8],
    recipient: &[u8],
) -> Option<LessSafeKey> {
    let theirs = UnparsedPublicKey::new(&ECDH_P256, theirs);
    agree(own, theirs, (), |shared| {
        let secret = Salt::new(HKDF_SHA256, SALT).extract(shared);
        let parties = [ephemeral, recipient];
        let key = secret.expand(&parties, &AES_256_GCM).map_err(|_| ())?;
        Ok(LessSafeKey::new(UnboundKey::from(key)))
    })
    .ok()
}

/// A key seals one message, so its nonce may stay the same.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};

    use super::*;

    fn key() -> (Vec<u8>, Vec<u8>) {
        let key = PrivateKey::generate(&ECDH_P256).unwrap();
        let pkcs8: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let public = key.compute_public_key().unwrap();
        (pkcs8.as_ref().to_vec(), public.as_ref().to_vec())
    }

    #[test]
    fn only_the_recipient_opens_it_and_only_unchanged() {
        let ((own, public), (other, _)) = (key(), key());
        let sealed = seal(&public, b"voucher 1", b"secret").unwrap();
        assert_eq!(&*open(&own, b"voucher 1", &sealed).unwrap(), b"secret");
        assert!(open(&own, b"voucher 2", &sealed).is_none());
        assert!(open(&other, b"voucher 1", &sealed).is_none());
        for at in [1, POINT, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&own, b"voucher 1", &changed).is_none(), "byte {at}");
        }
        assert!(open(&own, b"voucher 1", &sealed[..POINT]).is_none());
        assert!(open(&own, b"voucher 1", b"").is_none());
        assert_ne!(
            seal(&public, b"", b"x").unwrap(),
            seal(&public, b"", b"x").unwrap()
        );
        assert!(seal(b"no point", b"", b"x").is_err());
    }
}
