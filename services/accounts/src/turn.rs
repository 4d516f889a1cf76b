//! Passwords for a TURN server that shares a secret with this one.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use ruma::UserId;
use sha1::Sha1;

/// User name and password for `user_id`, valid until `expires` (seconds since the Unix epoch), as
/// [the TURN REST API](https://datatracker.ietf.org/doc/html/draft-uberti-behave-turn-rest-00) has them.
pub fn turn_credentials(shared_secret: &str, user_id: &UserId, expires: u64) -> (String, String) {
    let username = format!("{expires}:{user_id}");
    let mut mac = Hmac::<Sha1>::new_from_slice(shared_secret.as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(username.as_bytes());
    let password = STANDARD.encode(mac.finalize().into_bytes());
    (username, password)
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn the_turn_server_would_find_the_same() {
        // printf '1700000000:@a:example.org' | openssl dgst -sha1 -hmac 'secret' -binary | base64
        let (username, password) =
            turn_credentials("secret", user_id!("@a:example.org"), 1_700_000_000);
        assert_eq!(username, "1700000000:@a:example.org");
        assert_eq!(password, "8u/0q3ulX8LrJpxrLznmiN6p5VQ=");
    }
}
