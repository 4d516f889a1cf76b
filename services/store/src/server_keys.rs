//! Signing keys of other servers.

use ruma::{OwnedServerSigningKeyId, ServerName, ServerSigningKeyId};
use rusqlite::params;

use crate::{ReadTx, Result, WriteTx};

/// A signing key as its server published it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerKey {
    /// The Ed25519 public key.
    pub public_key: Vec<u8>,
    /// The key signs nothing with a later timestamp. Milliseconds since the Unix epoch.
    pub valid_until_ts: u64,
    /// Whether its server has retired it.
    pub is_old: bool,
}

/// A server's key document as it signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerKeyDocument {
    /// The document.
    pub json: String,
    /// When it goes out of date, in milliseconds since the Unix epoch.
    pub valid_until_ts: u64,
    /// When this server fetched it, in milliseconds since the Unix epoch.
    pub fetched_ts: u64,
}

impl ReadTx<'_> {
    /// A key that `server` once published.
    pub fn server_key(
        &self,
        server: &ServerName,
        key_id: &ServerSigningKeyId,
    ) -> Result<Option<ServerKey>> {
        let sql = "SELECT public_key, valid_until_ts, is_old FROM server_keys JOIN servers USING (server_nid) \
                   WHERE server_name = ?1 AND key_id = ?2";
        self.optional(sql, params![server.as_str(), key_id.as_str()], |row| {
            Ok(ServerKey {
                public_key: row.get(0)?,
                valid_until_ts: row.get(1)?,
                is_old: row.get(2)?,
            })
        })
    }

    /// The newest key document of `server`.
    pub fn server_key_document(&self, server: &ServerName) -> Result<Option<ServerKeyDocument>> {
        let sql = "SELECT json, valid_until_ts, fetched_ts FROM server_key_documents JOIN servers USING (server_nid) \
                   WHERE server_name = ?1";
        self.optional(sql, [server.as_str()], |row| {
            Ok(ServerKeyDocument {
                json: row.get(0)?,
                valid_until_ts: row.get(1)?,
                fetched_ts: row.get(2)?,
            })
        })
    }
}

impl WriteTx<'_> {
    /// Keeps a document and the keys in it. A key never changes its bytes, and a retired one never its end.
    pub fn insert_server_keys(
        &mut self,
        server: &ServerName,
        document: &ServerKeyDocument,
        keys: &[(OwnedServerSigningKeyId, ServerKey)],
    ) -> Result<()> {
        let nid = self.server_nid_or_insert(server)?;
        self.execute(
            "INSERT INTO server_key_documents (server_nid, json, valid_until_ts, fetched_ts) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (server_nid) DO UPDATE SET json = ?2, valid_until_ts = ?3, fetched_ts = ?4 \
             WHERE server_key_documents.valid_until_ts <= ?3",
            params![nid, document.json, document.valid_until_ts, document.fetched_ts],
        )?;
        for (key_id, key) in keys {
            self.execute(
                "INSERT INTO server_keys (server_nid, key_id, public_key, valid_until_ts, is_old) \
                 VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT (server_nid, key_id) DO UPDATE SET \
                 valid_until_ts = CASE WHEN ?5 = 1 OR ?4 > server_keys.valid_until_ts THEN ?4 \
                     ELSE server_keys.valid_until_ts END, \
                 is_old = ?5 \
                 WHERE server_keys.public_key = ?3 AND server_keys.is_old = 0",
                params![
                    nid,
                    key_id.as_str(),
                    key.public_key,
                    key.valid_until_ts,
                    key.is_old
                ],
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;
    use rusqlite::Connection;

    use super::*;
    use crate::{Position, migrations::migrate, names};

    fn id(version: &str) -> OwnedServerSigningKeyId {
        format!("ed25519:{version}").try_into().unwrap()
    }

    fn key(byte: u8, valid_until_ts: u64, is_old: bool) -> ServerKey {
        ServerKey {
            public_key: vec![byte; 32],
            valid_until_ts,
            is_old,
        }
    }

    fn document(json: &str, valid_until_ts: u64) -> ServerKeyDocument {
        ServerKeyDocument {
            json: json.to_owned(),
            valid_until_ts,
            fetched_ts: 1,
        }
    }

    #[test]
    fn a_key_keeps_its_bytes_grows_in_validity_and_retires_for_good() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        names::claim(&connection, server_name!("own.lu")).unwrap();
        let mut tx = WriteTx::new(&connection, Position::START, 1_000);
        let peer = server_name!("peer.lu");
        let mut insert = |json: &str, until: u64, key: ServerKey| {
            tx.insert_server_keys(peer, &document(json, until), &[(id("1"), key)])
                .unwrap();
            tx.server_key(peer, &id("1")).unwrap().unwrap()
        };
        assert_eq!(insert("a", 10, key(1, 10, false)), key(1, 10, false));
        assert_eq!(insert("b", 20, key(1, 20, false)), key(1, 20, false));
        // Another key by the same id changes nothing, nor does an older document.
        assert_eq!(insert("c", 30, key(2, 30, false)), key(1, 20, false));
        assert_eq!(insert("d", 5, key(1, 5, false)), key(1, 20, false));
        // Retired, it ends when its server says, and never lives again.
        assert_eq!(insert("e", 40, key(1, 15, true)), key(1, 15, true));
        assert_eq!(insert("f", 50, key(1, 50, false)), key(1, 15, true));
        assert_eq!(tx.server_key(peer, &id("2")).unwrap(), None);
        let kept = tx.server_key_document(peer).unwrap().unwrap();
        assert_eq!(kept, document("f", 50));
    }
}
