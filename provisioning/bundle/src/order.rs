//! What the national authority orders a box to do, beyond whom to trust.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Error, Fingerprint, PublicKey, ServerName, SigningKey, document};

const FORMAT: u32 = 1;
const MAX_BYTES: usize = 256 * 1024;
/// More signatures than there could be holders.
const MAX_SIGNATURES: usize = 64;
/// Keeps these signatures apart from everything else that the same keys sign.
const CONTEXT: &[u8] = b"luxchat order, format 1\0";

/// What the national authority orders one box to do. Signed by those who enrol and revoke, as many as the root of trust asks
/// for. It is bound to the key of the box, which a factory reset destroys: an order is of no use against the box that was
/// enrolled afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    format: u32,
    details: OrderDetails,
    signatures: Vec<OrderSignature>,
}

/// To whom an order goes, and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderDetails {
    /// Whom it is for.
    pub server_name: ServerName,
    /// The TLS key of the box that it is for.
    pub key: Fingerprint,
    /// What the box shall do.
    pub action: Action,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// From when on it is of no use.
    pub expires_at: Timestamp,
}

/// What a box can be ordered to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Destroy the keys of its data volume.
    Reset {},
    /// Take these files in place of its site file and of those that came with it, by their names on the stick.
    Site {
        /// SHA-256 of each.
        files: BTreeMap<String, Fingerprint>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderSignature {
    key: PublicKey,
    signature: String,
}

impl Order {
    /// Signs an order.
    pub fn new(details: OrderDetails, keys: &[SigningKey]) -> Self {
        let message = message(&details);
        let sign = |key: &SigningKey| OrderSignature {
            key: key.public_key(),
            signature: STANDARD_NO_PAD.encode(key.sign(&message)),
        };
        Self {
            format: FORMAT,
            signatures: keys.iter().map(sign).collect(),
            details,
        }
    }

    /// Reads an order. Whether a box has to follow it, [`crate::TrustStore::check_order`] tells.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        let order: Self = document::from_json("order", bytes, MAX_BYTES)?;
        document::check_format("order", order.format, FORMAT)?;
        if order.signatures.len() > MAX_SIGNATURES {
            return Err(Error::TooLarge {
                what: "list of signatures".to_owned(),
                limit: MAX_SIGNATURES,
            });
        }
        Ok(order)
    }

    /// The document for the stick.
    pub fn to_json(&self) -> Vec<u8> {
        document::to_json(self)
    }

    /// What it says.
    pub fn details(&self) -> &OrderDetails {
        &self.details
    }

    /// Whether it is for the box of that name and key, in force at `now`, and signed by `threshold` of `holders`.
    pub(crate) fn check(
        &self,
        server_name: &ServerName,
        key: Fingerprint,
        holders: &[PublicKey],
        threshold: u64,
        now: Timestamp,
    ) -> Result<(), Error> {
        let details = &self.details;
        let refused = |why: String| Error::Order { why };
        if details.server_name != *server_name {
            return Err(Error::OtherServer {
                document: "order",
                found: details.server_name.clone(),
                expected: server_name.clone(),
            });
        }
        if details.key != key {
            return Err(refused(
                "it is for another key than the one of this box: it was signed before the box was reset, or for \
                 another box"
                    .to_owned(),
            ));
        }
        if now >= details.expires_at {
            return Err(refused(format!("it expired at {:.0}", details.expires_at)));
        }
        let message = message(details);
        let signers: BTreeSet<&[u8; 32]> = self
            .signatures
            .iter()
            .filter(|it| holders.contains(&it.key))
            .filter(|it| {
                let signature = STANDARD_NO_PAD.decode(&it.signature);
                signature.is_ok_and(|signature| it.key.verifies(&message, &signature))
            })
            .map(|it| it.key.as_bytes())
            .collect();
        if (signers.len() as u64) < threshold {
            return Err(refused(format!(
                "{} of {threshold} needed signatures are right: it was changed after it was signed, or signed by \
                 somebody else",
                signers.len()
            )));
        }
        Ok(())
    }
}

/// The bytes that are signed, written anew from parsed values.
fn message(details: &OrderDetails) -> Vec<u8> {
    let mut bytes = CONTEXT.to_vec();
    bytes.extend_from_slice(&document::to_json(details));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn details() -> OrderDetails {
        OrderDetails {
            server_name: "interior.lu".parse().unwrap(),
            key: Fingerprint::of(b"the key of the box"),
            action: Action::Reset {},
            issued_at: at("2026-03-01T12:00:00Z"),
            expires_at: at("2026-03-08T12:00:00Z"),
        }
    }

    fn check(order: &Order, holders: &[PublicKey], threshold: u64) -> Result<(), String> {
        let name = "interior.lu".parse().unwrap();
        let key = Fingerprint::of(b"the key of the box");
        order
            .check(&name, key, holders, threshold, at("2026-03-02T00:00:00Z"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn as_many_holders_must_sign_as_the_root_asks_for() {
        let keys = [
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        ];
        let holders: Vec<_> = keys.iter().map(SigningKey::public_key).collect();
        let both = Order::new(details(), &keys);
        let both = Order::from_json(&both.to_json()).unwrap();
        assert_eq!(check(&both, &holders, 2), Ok(()));
        let one = Order::new(details(), &keys[..1]);
        assert!(check(&one, &holders, 2).unwrap_err().contains("1 of 2"));
        // The same holder twice is one.
        let mut twice = one.clone();
        twice.signatures.push(twice.signatures[0].clone());
        assert!(check(&twice, &holders, 2).unwrap_err().contains("1 of 2"));
        let stranger = Order::new(details(), &[SigningKey::generate().unwrap()]);
        assert!(
            check(&stranger, &holders, 1)
                .unwrap_err()
                .contains("0 of 1")
        );
    }

    #[test]
    fn an_order_that_was_changed_or_is_for_another_is_refused() {
        let key = [SigningKey::generate().unwrap()];
        let holders = [key[0].public_key()];
        let order = Order::new(details(), &key);
        assert_eq!(check(&order, &holders, 1), Ok(()));

        let mut changed = order.clone();
        changed.details.action = Action::Site {
            files: BTreeMap::new(),
        };
        assert!(check(&changed, &holders, 1).unwrap_err().contains("0 of 1"));
        let mut elsewhere = details();
        elsewhere.server_name = "justice.lu".parse().unwrap();
        let elsewhere = Order::new(elsewhere, &key);
        assert!(
            check(&elsewhere, &holders, 1)
                .unwrap_err()
                .contains("justice.lu")
        );
        let mut earlier_box = details();
        earlier_box.key = Fingerprint::of(b"the key before the reset");
        let earlier_box = Order::new(earlier_box, &key);
        assert!(
            check(&earlier_box, &holders, 1)
                .unwrap_err()
                .contains("another key")
        );
        let mut late = details();
        late.expires_at = at("2026-03-01T13:00:00Z");
        let late = Order::new(late, &key);
        assert!(check(&late, &holders, 1).unwrap_err().contains("expired"));
    }
}
