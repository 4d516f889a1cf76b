//! Numbers that name keys and certificates: fingerprints, serials, Matrix signing keys.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{Error, text_form::text_form};

/// The SHA-256 digest of a certificate, of a public key or of a document. Its text form is 64
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut out = [0; 32];
        out.copy_from_slice(digest.as_ref());
        Self(out)
    }

    /// A SHA-256 digest that was made elsewhere. `None` if it has another length.
    pub fn from_digest(digest: &[u8]) -> Option<Self> {
        digest.try_into().ok().map(Self)
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The fingerprint in groups of four digits, for people to read to each other.
    pub fn read_aloud(&self) -> String {
        let hex = self.to_string();
        let mut out = String::with_capacity(80);
        for (at, digit) in hex.chars().enumerate() {
            if at > 0 && at % 4 == 0 {
                out.push(' ');
            }
            out.push(digit);
        }
        out
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bytes = from_hex(text, 32).ok_or_else(|| Error::Fingerprint(clip(text)))?;
        let bytes = bytes
            .try_into()
            .map_err(|_| Error::Fingerprint(clip(text)))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_form!(Fingerprint);

/// The serial number of a certificate: 1 to 20 bytes, in lower-case hexadecimal, without leading
/// zero bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A serial from the big-endian bytes in a certificate. `None` if it is zero or longer than
    /// the 20 bytes of RFC 5280.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let start = bytes.iter().position(|b| *b != 0)?;
        let bytes = &bytes[start..];
        (bytes.len() <= 20).then(|| Self(bytes.to_vec()))
    }

    /// The big-endian bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Serial {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        from_hex(text, 20)
            .and_then(|bytes| Self::from_bytes(&bytes))
            .ok_or_else(|| Error::Serial(clip(text)))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_form!(Serial);

/// The id of a Matrix signing key: `ed25519:` and a version of letters, digits and underscores.
/// <https://spec.matrix.org/v1.19/appendices/#signing-json>
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SigningKeyId(String);

impl SigningKeyId {
    /// The whole id, algorithm included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part behind the colon.
    pub fn version(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, version)| version)
    }
}

impl FromStr for SigningKeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let good = text.strip_prefix("ed25519:").is_some_and(|version| {
            (1..=64).contains(&version.len())
                && version
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        });
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::SigningKeyId(clip(text)))
        }
    }
}

impl fmt::Display for SigningKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(SigningKeyId);

/// An Ed25519 public key. Its text form is unpadded base64, as in Matrix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// A public key from its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fault = || Error::PublicKey(clip(text));
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| fault())?;
        Ok(Self(bytes.try_into().map_err(|_| fault())?))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_form!(PublicKey);

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// The bytes behind an even number of hexadecimal digits, at most `limit` of them.
fn from_hex(text: &str, limit: usize) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > limit * 2 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok())
        .collect()
}

/// Keeps an error message short, whatever was handed in.
fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_round_trip_and_read_aloud() {
        let fingerprint = Fingerprint::of(b"");
        let text = fingerprint.to_string();
        assert!(text.starts_with("e3b0c44298fc1c14"));
        assert_eq!(text.parse::<Fingerprint>().unwrap(), fingerprint);
        assert!(fingerprint.read_aloud().starts_with("e3b0 c442 98fc "));
        for bad in [
            "",
            "e3",
            &text[..62],
            &format!("{text}00"),
            &"zz".repeat(32),
        ] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn serials_have_one_spelling() {
        let serial: Serial = "00aB01".parse().unwrap();
        assert_eq!(serial.to_string(), "ab01");
        assert_eq!(Serial::from_bytes(&[0, 0xab, 1]), Some(serial));
        for bad in ["", "0", "00", "abc", "xy", &"11".repeat(21)] {
            assert!(bad.parse::<Serial>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn signing_keys_are_ed25519() {
        let id: SigningKeyId = "ed25519:a_1B".parse().unwrap();
        assert_eq!(id.version(), "a_1B");
        for bad in [
            "",
            "ed25519:",
            "ed25519",
            "rsa:a",
            "ed25519:a b",
            "ed25519:a:b",
            "ed25519:é",
        ] {
            assert!(bad.parse::<SigningKeyId>().is_err(), "{bad:?} was taken");
        }
        let key = PublicKey::from_bytes([7; 32]);
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        for bad in ["", "AAAA", "Bwc=", "*", &"A".repeat(44)] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad:?} was taken");
        }
    }
}
