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

#[cfg(test)]
mod tests {
    use ruma::server_name;
    use rusqlite::Connection;

    use super::*;
    use crate::{Position, migrations::migrate, names};

    #[test]
    fn the_first_answer_stands_until_it_is_old() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        names::claim(&connection, server_name!("own.lu")).unwrap();
        let (one, two) = (server_name!("one.lu"), server_name!("two.lu"));
        let id: &TransactionId = "txn".into();
        let mut tx = WriteTx::new(&connection, Position::START, 1_000);
        tx.insert_received_transaction(one, id, "first").unwrap();
        tx.insert_received_transaction(one, id, "second").unwrap();
        let answer = tx.received_transaction(one, id).unwrap();
        assert_eq!(answer.as_deref(), Some("first"));
        assert_eq!(tx.received_transaction(two, id).unwrap(), None);

        assert_eq!(tx.delete_received_transactions(1_000, 10).unwrap(), 0);
        assert_eq!(tx.delete_received_transactions(1_001, 10).unwrap(), 1);
        assert_eq!(tx.received_transaction(one, id).unwrap(), None);
    }
}
