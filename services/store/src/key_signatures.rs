//! Signatures that users add to keys after their upload.

use std::collections::BTreeMap;

use ruma::{OwnedUserId, UserId, serde::Raw};
use rusqlite::params;
use serde_json::{Value, value::to_raw_value};

use crate::{Error, ReadTx, Result, Topic, UserNid, WriteTx};

/// A signature over a key, as it stands in `signatures`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySignature {
    /// Who signed.
    pub signer: OwnedUserId,
    /// With which key, its algorithm included.
    pub key_id: String,
    /// The signature in unpadded base64.
    pub signature: String,
}

/// Most signatures that one answer brings for one user's keys.
const SIGNATURES: u32 = 10_000;

impl ReadTx<'_> {
    /// Signatures over the keys of `target` by the target and by `viewer`, by device id or public key.
    pub fn signatures_seen_by(
        &self,
        viewer: Option<UserNid>,
        target: UserNid,
    ) -> Result<BTreeMap<String, Vec<KeySignature>>> {
        let rows = self.all(
            "SELECT k.target_key, u.user_id, k.signer_key_id, k.signature
             FROM key_signatures k JOIN users u ON u.user_nid = k.signer_nid
             WHERE k.target_nid = ?1 AND k.signer_nid IN (?1, ?2) LIMIT ?3",
            params![target, viewer.unwrap_or(target), SIGNATURES],
            |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get(2)?,
                    row.get(3)?,
                ))
            },
        )?;
        let mut signatures: BTreeMap<String, Vec<KeySignature>> = BTreeMap::new();
        for (target_key, signer, key_id, signature) in rows {
            signatures
                .entry(target_key)
                .or_default()
                .push(KeySignature {
                    signer: user_id(signer)?,
                    key_id,
                    signature,
                });
        }
        Ok(signatures)
    }

    /// Signatures over one key of `target` by the target.
    pub(crate) fn own_signatures(
        &self,
        target: UserNid,
        target_key: &str,
    ) -> Result<Vec<KeySignature>> {
        self.all(
            "SELECT u.user_id, k.signer_key_id, k.signature
             FROM key_signatures k JOIN users u ON u.user_nid = k.signer_nid
             WHERE k.target_nid = ?1 AND k.target_key = ?2 AND k.signer_nid = ?1",
            params![target, target_key],
            |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)),
        )?
        .into_iter()
        .map(|(signer, key_id, signature)| {
            Ok(KeySignature {
                signer: user_id(signer)?,
                key_id,
                signature,
            })
        })
        .collect()
    }
}

impl WriteTx<'_> {
    /// Adds signatures by one local user over a key of `target`: a device id, or the public part of a cross-signing
    /// key. Says whether any is new. Who is told of it is the caller's business.
    pub fn add_key_signatures(
        &mut self,
        target: UserNid,
        target_key: &str,
        signer: UserNid,
        signatures: &[(String, String)],
    ) -> Result<bool> {
        let mut changed = 0;
        for (key_id, signature) in signatures {
            changed += self.execute(
                "INSERT INTO key_signatures (target_nid, target_key, signer_nid, signer_key_id, signature)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (target_nid, target_key, signer_nid, signer_key_id)
                 DO UPDATE SET signature = excluded.signature WHERE signature <> excluded.signature",
                params![target, target_key, signer, key_id, signature],
            )?;
        }
        Ok(changed > 0)
    }

    /// `signer` signed keys of `target`: the signer's clients are told that the target's keys look different now.
    pub fn signatures_changed(&mut self, signer: UserNid, target: UserNid) -> Result<()> {
        let seq = self.next_position();
        self.execute(
            "INSERT INTO signature_changes (signer_nid, target_nid, seq) VALUES (?1, ?2, ?3)
             ON CONFLICT (signer_nid, target_nid) DO UPDATE SET seq = excluded.seq",
            params![signer, target, seq],
        )?;
        self.announce(Topic::User(signer));
        Ok(())
    }

    pub(crate) fn delete_signatures_of(&self, target: UserNid, target_key: &str) -> Result<()> {
        let sql = "DELETE FROM key_signatures WHERE target_nid = ?1 AND target_key = ?2";
        self.execute(sql, params![target, target_key])?;
        Ok(())
    }
}

/// A signed object with more signatures in it.
pub fn with_signatures<T>(json: &str, signatures: &[KeySignature]) -> Result<Raw<T>> {
    let invalid = |error: serde_json::Error| Error::invalid("signed key", error);
    let mut object: serde_json::Map<String, Value> = serde_json::from_str(json).map_err(invalid)?;
    let all = object
        .entry("signatures")
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
    for added in signatures {
        let by_signer = all
            .as_object_mut()
            .ok_or_else(|| Error::invalid("signed key", "signatures is no object"))?
            .entry(added.signer.as_str())
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        by_signer
            .as_object_mut()
            .ok_or_else(|| Error::invalid("signed key", "a signer's signatures are no object"))?
            .insert(added.key_id.clone(), Value::String(added.signature.clone()));
    }
    Ok(Raw::from_json(to_raw_value(&object).map_err(invalid)?))
}

fn user_id(id: String) -> Result<OwnedUserId> {
    UserId::parse(id).map_err(|error| Error::invalid("user id", error))
}
