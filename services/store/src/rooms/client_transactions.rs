//! Idempotency of client requests, written with their effect.

use rusqlite::params;

use crate::{EventNid, ReadTx, Result, UserNid, WriteTx};

impl ReadTx<'_> {
    /// What a request did when it came first: `None` where it is new, `Some(None)` where it made no event.
    pub fn client_transaction(
        &self,
        user: UserNid,
        device_id: &str,
        scope: &str,
        txn_id: &str,
    ) -> Result<Option<Option<EventNid>>> {
        let sql = "SELECT event_nid FROM client_transactions \
                   WHERE user_nid = ?1 AND device_id = ?2 AND scope = ?3 AND txn_id = ?4";
        self.optional(sql, params![user, device_id, scope, txn_id], |row| {
            row.get(0)
        })
    }

    /// The transaction id with which a device made an event, for `unsigned.transaction_id`.
    pub fn transaction_id_of(
        &self,
        event: EventNid,
        user: UserNid,
        device_id: &str,
    ) -> Result<Option<String>> {
        let sql = "SELECT txn_id FROM client_transactions \
                   WHERE event_nid = ?1 AND user_nid = ?2 AND device_id = ?3";
        self.optional(sql, params![event, user, device_id], |row| row.get(0))
    }
}

impl WriteTx<'_> {
    /// Remembers a request with the event it made, if it made one.
    pub fn insert_client_transaction(
        &mut self,
        user: UserNid,
        device_id: &str,
        scope: &str,
        txn_id: &str,
        event: Option<EventNid>,
    ) -> Result<()> {
        let now = i64::try_from(self.now_ms()).unwrap_or(i64::MAX);
        let sql = "INSERT INTO client_transactions (user_nid, device_id, scope, txn_id, event_nid, created_ts) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.execute(sql, params![user, device_id, scope, txn_id, event, now])?;
        Ok(())
    }

    /// Forgets at most `limit` requests from before a time in milliseconds since the Unix epoch, and says how many.
    pub fn delete_client_transactions_before(&mut self, ts: u64, limit: usize) -> Result<usize> {
        let ts = i64::try_from(ts).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "DELETE FROM client_transactions WHERE (user_nid, device_id, scope, txn_id) IN (\
                   SELECT user_nid, device_id, scope, txn_id FROM client_transactions \
                   WHERE created_ts < ?1 ORDER BY created_ts LIMIT ?2)";
        self.execute(sql, params![ts, limit])
    }
}
