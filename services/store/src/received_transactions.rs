//! Transactions of other servers that were processed already.

use ruma::{ServerName, TransactionId};
use rusqlite::params;

use crate::{ReadTx, Result, WriteTx};

impl ReadTx<'_> {
    /// What transaction `txn_id` of `server` was answered, if it was processed.
    pub fn received_transaction(
        &self,
        server: &ServerName,
        txn_id: &TransactionId,
    ) -> Result<Option<String>> {
        let sql = "SELECT response FROM received_transactions JOIN servers USING (server_nid) \
                   WHERE server_name = ?1 AND txn_id = ?2";
        self.optional(sql, params![server.as_str(), txn_id.as_str()], |row| {
            row.get(0)
        })
    }
}

impl WriteTx<'_> {
    /// Keeps what a transaction was answered. The first answer stands.
    pub fn insert_received_transaction(
        &mut self,
        server: &ServerName,
        txn_id: &TransactionId,
        response: &str,
    ) -> Result<()> {
        let nid = self.server_nid_or_insert(server)?;
        self.execute(
            "INSERT INTO received_transactions (server_nid, txn_id, response, received_ts) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO NOTHING",
            params![nid, txn_id.as_str(), response, self.now_ms()],
        )?;
        Ok(())
    }

    /// Forgets answers given before `before_ts` (milliseconds since the Unix epoch), at most `limit` of them, and says
    /// how many.
    pub fn delete_received_transactions(&mut self, before_ts: u64, limit: u32) -> Result<usize> {
        self.execute(
            "DELETE FROM received_transactions WHERE (server_nid, txn_id) IN \
             (SELECT server_nid, txn_id FROM received_transactions WHERE received_ts < ?1 LIMIT ?2)",
            params![before_ts, limit],
        )
    }
}
