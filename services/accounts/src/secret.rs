//! Tokens: made from 256 random bits, kept as SHA-256 alone.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// SHA-256 of a token. There is nothing to guess in 256 random bits, so no salt and no slow hash.
pub(crate) type TokenHash = [u8; 32];

/// A new token. The prefix tells whoever finds one in the open what it is.
pub(crate) fn token(prefix: &str) -> String {
    let random: [u8; 32] = rand::random();
    format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(random))
}

pub(crate) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_need_no_escaping() {
        let first = token("lxa");
        assert_ne!(first, token("lxa"));
        assert_eq!(first.len(), 4 + 43);
        assert!(
            first
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        );
    }
}
